"""Gather the facts that `explain` judges: SQL, Redis, and the live workers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from redis.exceptions import AuthenticationError, RedisError, ResponseError
from sqlalchemy import text

from models.account_state import RefreshMethod
from models.refresh_request import RefreshRequest
from models.token import Secret
from refreshd_reader.contract import SEALED_FIELD, Keys
from worker.accounts.twins import SameGrant
from worker.broker.queues import QUEUES, REFRESH
from worker.context import AppContext
from worker.db.accounts.nearest_ids import nearest_ids
from worker.db.accounts.rows import accounts_in, find_accounts
from worker.db.engine import database_now, reading, write_refused
from worker.db.fleet.twins import holding
from worker.db.publication.comparison import ComparisonStore
from worker.diagnostics.explain.facts import Facts, GateFacts, RedisFacts, RegistrationFacts, Twin
from worker.diagnostics.explain.request_facts import request_facts
from worker.diagnostics.explain.rules.keys import keys_of, lacked_a_key
from worker.diagnostics.explain.rules.provider import last_call
from worker.errors import CipherError, KnobsUnfit, SettingsError, UnknownAccount
from worker.monitoring.gate_status import look_at_gates
from worker.policy.backlog import PLAN_LATE_S
from worker.policy.lane import Lane, lane_of
from worker.providers.registry import ISSUER
from worker.redis.clock_offsets import ClockOffsets
from worker.redis.pending_answers import PendingAnswers
from worker.settings.redis_url import address_of

if TYPE_CHECKING:
    from models.tables.account import Account
    from models.tables.attempt import Attempt
    from worker.callbacks.catalog import CallbackCatalog
    from worker.celery.inspect import WorkerKeys, Workers

    Sees = Callable[[Account], bool]

#: Entries of the history that a diagnosis reads.
ATTEMPTS_LOOKED_AT = 50
#: Accounts with the same refresh token that a diagnosis reads.
TWINS_LOOKED_AT = 20


def _alive_workers() -> Workers | None:
    from worker.celery.inspect import alive_workers  # brings Celery

    return alive_workers()


def _worker_keys() -> WorkerKeys | None:
    from worker.celery.inspect import worker_keys  # brings Celery

    return worker_keys()


def gather(
    here: AppContext,
    account_id: str,
    *,
    workers: Callable[[], Workers | None] = _alive_workers,
    worker_keys: Callable[[], WorkerKeys | None] = _worker_keys,
    reads_tokens: bool = True,
    sees: Sees | None = None,
) -> Facts:
    """Return the facts of one account.

    Args:
        here: the stores.
        account_id: whose.
        workers: asks which workers are alive, and what each takes from; None: that can't be asked from here. They are not
            asked where the worker that refreshed this account last is known to run, and nothing is late or under way.
        worker_keys: asks the workers for the ids of their keys; None: that can't be asked from here. They are asked where the
            last worker lacked a key that is here.
        reads_tokens: this process may read published tokens and stashed answers; else, where a token is there, it is taken
            for one of the generation that Redis has of the account.
        sees: whether the reader may learn of another account; None: of all of them. Of those that it may not, no fact has an
            id, and what befell an account that had this id before is left out.

    Raises:
        UnknownAccount: there is none.
        DatabaseUnreachable: without the database there are no facts.
    """
    with reading(here.engine) as connection:
        account = accounts_in(connection, [account_id]).get(account_id)
        now = database_now(connection)
        planned_at = connection.execute(text("SELECT finished_at FROM duty WHERE name = 'plan'")).scalar()
    if account is None:
        raise UnknownAccount(account_id, near=nearest_ids(here.engine, account_id))
    redis, trouble = _redis(here, account, reads_tokens=reads_tokens)
    offers = _offers(here) if redis is not None and account.callback is not None else {}
    client = None if account.client is None else here.clients.of(account)  # else none of its table is loaded
    attempts = here.history.of(account_id, limit=ATTEMPTS_LOOKED_AT)
    if sees is not None:
        attempts = [one for one in attempts if one.opened_at >= account.created_at]
    clocks = _clocks(here) if redis is not None else {}
    last = last_call(attempts)
    request = request_facts(here, account, client, now, last)
    asks_keys = redis is not None and request.sealed_error is None and lacked_a_key(last)
    return Facts(
        now=now,
        account=account,
        provider=here.providers.for_schedule(account),
        knobs_error=_knobs_error(here, account),
        attempts=attempts,
        redis=redis,
        gate=None if redis is None else _gate(here, account, now, sees),
        redis_error=None if trouble is None else str(trouble),
        redis_refuses=isinstance(trouble, ResponseError | AuthenticationError),
        workers=None
        if redis is None
        else _seen_at_work(account, attempts, clocks, now, planned_at) or workers(),
        worker_keys=worker_keys() if asks_keys else None,
        sealed_with=keys_of(account, client),
        callbacks={worker: list(offer.callbacks) for worker, offer in offers.items()},
        callback_problems={where: why for offer in offers.values() for where, why in offer.problems.items()},
        planned_at=planned_at,
        pauses=here.pauses.of(account_id, account.provider),
        queue_limit=here.settings.queue_limit,
        plan_interval_s=here.settings.plan_interval_s,
        clocks=clocks,
        loss=ComparisonStore(here.engine).state().progress.loss,
        skew_s=here.clock.skew_s(),
        sealed_error=request.sealed_error,
        read_only=write_refused(here.engine),
        url_error=request.url_error,
        form_encoding_matters=request.form_encoding_matters,
        certificate_ends_at=request.certificate_ends_at,
        twins=_twins(here, account, sees),
        client=client,
        registration=_registration(here, account),
        metadata_failure=_metadata_failure(here, account),
    )


def _seen_at_work(
    account: Account,
    attempts: Sequence[Attempt],
    clocks: Mapping[str, float],
    now: float,
    planned_at: float | None,
) -> Workers | None:
    """Return the worker that refreshed the account last, where nothing speaks against its being at work; else None.

    Asking takes a second, and most of what an explanation costs.
    """
    last, due_at = last_call(attempts), account.next_refresh_at
    if last is None or last.worker is None or last.worker not in clocks or account.claim_attempt is not None:
        return None
    if account.refresh_method == RefreshMethod.CALLBACK or due_at is None or due_at <= now:
        return None
    if planned_at is None or not 0 <= now - planned_at <= PLAN_LATE_S:
        return None
    return {last.worker: [REFRESH]}


def _metadata_failure(here: AppContext, account: Account) -> tuple[str, str] | None:
    """Return why the metadata of an account's issuer could not be read last."""
    if account.provider != ISSUER:
        return None
    from worker.providers.discovery.metadata import bare_issuer  # few accounts have an issuer

    provider = here.providers.for_schedule(account)
    issuer = None if provider is None else provider.issuer
    row = None if issuer is None else here.issuers.find(bare_issuer(issuer))
    return None if row is None or row.failure is None else (row.failure, row.detail or row.failure)


def _registration(here: AppContext, account: Account) -> RegistrationFacts | None:
    """Return how the client was registered that the account names; a process that opens nothing can't read it."""
    if not account.client or not here.has_keys:
        return None
    from worker.db.intake.issuers import Registrations  # they bring tables that few accounts are in
    from worker.db.intake.registration_failures import failure_of

    found = Registrations(here.engine).find(account.client)
    if found is None:
        return None
    failed = failure_of(here.engine, found.client)
    words = None if failed is None else f"{failed.words} [{failed.reason}]"
    return RegistrationFacts(found.issuer, found.registered_at, found.is_managed, words)


def _twins(here: AppContext, account: Account, sees: Sees | None) -> list[Twin]:
    same = SameGrant(here.providers)
    found = holding(here.engine, account, limit=TWINS_LOOKED_AT)
    return [
        Twin(one.id if sees is None or sees(one) else None, one.status) for one in found if same(account, one)
    ]


def _redis(
    here: AppContext, account: Account, *, reads_tokens: bool
) -> tuple[RedisFacts | None, Exception | None]:
    keys, prefix = here.keys, here.settings.redis_prefix
    try:
        client: Any = here.redis
        pipeline = client.pipeline(transaction=False)
        if reads_tokens:
            pipeline.hmget(keys.token(account.id), "generation", SEALED_FIELD)
        else:
            pipeline.exists(keys.token(account.id))
        pipeline.hget(keys.account(account.id), "generation")
        pipeline.get(keys.lock(account.id))
        pipeline.pttl(keys.lock(account.id))
        (pipeline.get if reads_tokens else pipeline.exists)(keys.stash(account.id))
        pipeline.exists(keys.answer(account.id))
        seen, state, holder, lease_ms, stash, kept = pipeline.execute()
        clock = client.time()
        lengths = _queue_lengths(here.broker)
    except (RedisError, OSError, SettingsError) as error:  # SettingsError: none is set, and none runs here
        return None, error
    token, sealed = seen if reads_tokens else (state if seen else None, None)
    stash = stash if reads_tokens else stash or None
    redis_now = clock[0] + clock[1] / 1_000_000
    return RedisFacts(
        where=address_of(here.settings.redis),
        prefix=prefix,
        token_generation=None if token is None else int(token),
        token_sealed_with=None if sealed is None else str(sealed).partition(":")[0],
        default_prefix_generation=_elsewhere(client, account, prefix),
        state_generation=None if state is None else int(state),
        lease_holder=holder,
        lease_s=lease_ms / 1000 if lease_ms > 0 else None,
        lease_renewed_ago_s=max(here.settings.claim_seconds - lease_ms / 1000, 0.0) if lease_ms > 0 else None,
        stashed=stash is not None,
        answer_kept=bool(kept),
        stash_error=_stash_error(here, account, stash),
        queues=dict(zip(QUEUES, lengths, strict=True)),
        ahead_s=redis_now - here.clock.now(),
    ), None


def _gate(here: AppContext, account: Account, now: float, sees: Sees | None) -> GateFacts | None:
    """Return the gate that holds the account, else its origin's."""
    name = account.held_by or _lane(here, account).origin
    found = look_at_gates(here.engine, here.redis, here.settings.redis_prefix, now=now, names=[name])
    if not found:
        return None
    (one,) = found
    if sees is not None:
        named = [name for name in (one.gate.by, one.next_call, one.next_probe) if name]
        one = one.named_to({other.id for other in find_accounts(here.engine, named).values() if sees(other)})
    return GateFacts(
        sentence=one.sentence(now),
        next_words=one.next_words(now),
        gate=one.gate,
        holds=account.held_by == name,
        accounts=one.held.accounts,
    )


def _lane(here: AppContext, account: Account) -> Lane:
    """Return the lane of its refreshes; without keys an origin that its custom fields name is unknown."""
    provider = here.providers.for_schedule(account)
    if provider is None:
        return lane_of(account, account.refresh_method, None)
    custom: dict[str, Secret] = {}
    if here.has_keys:
        with suppress(CipherError):
            custom = here.sealer.custom_fields(account)
    request = RefreshRequest(
        account_id=account.id,
        provider=provider,
        client_id=account.client_id,
        token_url=account.token_url,
        server_url=account.server_url,
        custom_fields=custom,
    )
    return lane_of(account, account.refresh_method, request)


def _elsewhere(client: Any, account: Account, prefix: str) -> int | None:
    """Return the generation of a token under the default prefix, which a connector without a prefix reads."""
    if prefix == Keys().prefix:
        return None
    try:
        found = client.hget(Keys().token(account.id), "generation")
    except (RedisError, OSError):  # nor may we look there
        return None
    return None if found is None else int(found)


def _queue_lengths(broker: Any) -> list[int]:
    pipeline = broker.pipeline(transaction=False)
    for queue in QUEUES:
        pipeline.llen(queue)
    return [int(length) for length in pipeline.execute()]


def _offers(here: AppContext) -> dict[str, CallbackCatalog]:
    from worker.callbacks.heartbeats import CallbackHeartbeats

    try:
        return CallbackHeartbeats(here.redis, here.settings.redis_prefix).offers()
    except (RedisError, OSError):
        return {}


def _clocks(here: AppContext) -> dict[str, float]:
    try:
        return ClockOffsets(here.broker, here.settings.redis_prefix).all()
    except (RedisError, OSError):  # nor may everybody look there
        return {}


def _stash_error(here: AppContext, account: Account, sealed: str | None) -> str | None:
    if sealed is None or not here.has_keys:
        return None
    try:
        PendingAnswers.read(here.cipher, account.id, sealed)
    except CipherError as error:
        return str(error)
    return None


def _knobs_error(here: AppContext, account: Account) -> str | None:
    try:
        here.providers.of(account)
    except KnobsUnfit as error:
        return str(error)
    return None
