"""What is wrong with an account, most likely first. Pure: facts in, findings out.

The rules are in the order in which they explain a symptom best: what keeps every account from being refreshed,
then what keeps this one, then what its provider says, then what lies between the token and the reader.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from difflib import get_close_matches
from typing import Final

from models.account import RefreshMethod, SessionManagement, Status
from models.attempt import Outcome, Trigger
from models.provider import Grant
from worker.policy.diagnosis_pause import paused
from worker.policy.diagnosis_provider import EDIT_URL, last_call, provider_budget, provider_says
from worker.policy.facts import Facts, Finding, RedisFacts
from worker.policy.reported import FRESH_TOKENS_REJECTED
from worker.policy.verdict_words import words_of

#: A plan that is older was not made; beat makes one each second.
PLAN_LATE_S: Final = 15.0
#: An account that is due for longer than this waits for something.
OVERDUE_S: Final = 15.0
TOLERATED_SKEW_S: Final = 2.0
REQUEST_IMPOSSIBLE: Final = "request_impossible"
_QUEUE: Final = "refresh"
_CALLBACK_QUEUE: Final = "callback"
_REPORTS_TELLING: Final = 2


def diagnose(facts: Facts) -> list[Finding]:
    """Give everything that is wrong, or worth knowing, most likely first."""
    return [finding for rule in _RULES for finding in rule(facts)]


def _stores(facts: Facts) -> Iterator[Finding]:
    if facts.read_only:
        yield Finding(
            "database_read_only",
            f"The database can be read but not written ({facts.read_only}): no attempt can be opened, so nothing is "
            "refreshed.",
            "Give the database disk space and the work role its rights, then `refreshd doctor`.",
        )
    if facts.redis is None:
        yield Finding(
            "redis_unreachable",
            f"Redis does not answer ({facts.redis_error}): nothing is refreshed, and no reader gets a token.",
            "Start it, or correct REFRESHD_REDIS_URL, for every worker and connector.",
        )


def _keys(facts: Facts) -> Iterator[Finding]:
    if facts.sealed_error:
        yield Finding(
            "key_missing",
            f"A secret of this account does not open: {facts.sealed_error}.",
            "Put the key that sealed it back into REFRESHD_KEYS of every worker; `refreshd keys check` names all rows.",
        )


def _fleet(facts: Facts) -> Iterator[Finding]:
    if not _is_planned(facts):
        return
    late_s = None if facts.planned_at is None else facts.now - facts.planned_at
    if late_s is None or late_s > PLAN_LATE_S + facts.plan_interval_s:
        ago = "never" if late_s is None else f"{late_s:.0f} s ago"
        yield Finding(
            "beat_down",
            f"Nothing is planned: the last plan ended {ago}. Either beat is down, or no worker takes from `control`.",
            "Start `celery -A worker.app beat` (exactly one is enough) and a worker; `refreshd status` shows both.",
        )
    wanted = _CALLBACK_QUEUE if facts.account.refresh_method == RefreshMethod.CALLBACK else _QUEUE
    if facts.workers is not None and not any(wanted in queues for queues in facts.workers.values()):
        alive = ", ".join(facts.workers) or "none"
        waiting = facts.redis.queues.get(wanted, 0) if facts.redis else 0
        yield Finding(
            "no_worker_on_queue",
            f"No worker takes from the queue `{wanted}` (alive: {alive}); {waiting} messages wait there.",
            f"Start one: `celery -A worker.app worker -P {'prefork' if wanted == _CALLBACK_QUEUE else 'threads -c 8'} "
            f"-Q {wanted if wanted == _CALLBACK_QUEUE else 'refresh,urgent,control'}`.",
        )


def _policy(facts: Facts) -> Iterator[Finding]:
    account = facts.account
    if not account.refresh_enabled:
        yield Finding(
            "refresh_disabled",
            "Refreshing is switched off for this account: its token is used until it ends, and then there is none.",
            f"`refreshd accounts enable {account.id}`",
        )
    elif account.session_management == SessionManagement.NONE:
        yield Finding(
            "session_none",
            "Its session management is `none`: it is never refreshed by itself, only when a person forces it.",
            f"`refreshd accounts edit {account.id} session_management=auto`",
        )
    if account.session_management == SessionManagement.FIXED and account.issued_at and account.expires_at:
        life_s = account.expires_at - account.issued_at
        if account.session_timeout_s >= life_s:
            dead_s = account.session_timeout_s - life_s
            yield Finding(
                "fixed_timeout_longer_than_token",
                f"`fixed` refreshes it every {account.session_timeout_s:.0f} s, but the provider's tokens live "
                f"{life_s:.0f} s: in between lies a dead token, for up to {dead_s:.0f} s. Readers see 401 or 403 then.",
                f"`refreshd accounts edit {account.id} session_management=auto`, or session_timeout_s="
                f"{max(int(life_s * 0.9), 1)}.",
            )


def _callback(facts: Facts) -> Iterator[Finding]:
    account = facts.account
    if account.refresh_method != RefreshMethod.CALLBACK or account.callback is None:
        return
    takers = {worker for worker, queues in (facts.workers or {}).items() if _CALLBACK_QUEUE in queues}
    having = {worker for worker, names in facts.callbacks.items() if account.callback in names}
    known = sorted({name for names in facts.callbacks.values() for name in names})
    if not having:
        near = get_close_matches(account.callback, known, 1)
        hint = f" The nearest is {near[0]!r}." if near else ""
        yield Finding(
            "callback_not_registered",
            f"No running worker knows a callback {account.callback!r}; they know: {', '.join(known) or 'none'}.{hint}",
            "List its module in REFRESHD_CALLBACK_MODULES of the callback worker and restart it; "
            "`refreshd callbacks list` shows who knows what.",
        )
    elif takers and not takers & having:
        yield Finding(
            "callback_registered_elsewhere",
            f"The callback {account.callback!r} is known to {', '.join(sorted(having))} only, but the workers that take "
            f"from `{_CALLBACK_QUEUE}` are {', '.join(sorted(takers))}.",
            "Give every callback worker the same REFRESHD_CALLBACK_MODULES, and restart them.",
        )
    last = last_call(facts.attempts)
    if last and last.reason in {"callback_failed", "timed_out"}:
        yield Finding(
            "callback_failing",
            f"The callback ran and failed: {last.error_description or words_of(last.reason)}",
            f"`refreshd callbacks test {account.callback} --account {account.id}` runs it as in production and shows "
            "its output.",
        )


def _credentials(facts: Facts) -> Iterator[Finding]:
    account, provider = facts.account, facts.provider
    if provider is None:
        yield Finding(
            "provider_unknown",
            f"The provider {account.provider!r} is described nowhere, and the account gives no token_url.",
            f"`refreshd accounts edit {account.id} token_url=https://...`, or correct the provider's name "
            "(`refreshd providers list`).",
        )
    elif facts.url_error and _was_impossible(facts):
        yield Finding(
            "token_url_refused",
            f"The request can't be sent: {facts.url_error}.",
            EDIT_URL.format(account.id),
        )
    if (
        provider is not None
        and provider.grant is Grant.REFRESH_TOKEN
        and account.refresh_method != RefreshMethod.CALLBACK
        and account.refresh_token_sealed is None
    ):
        yield Finding(
            "refresh_token_never_issued",
            "There is no refresh token: the provider issued none, or it was not imported.",
            "Ask for offline access when the grant is made (scope `offline_access`, access_type=offline, or as the "
            "provider calls it), and import both tokens.",
        )


def _claims(facts: Facts) -> Iterator[Finding]:
    account, redis = facts.account, facts.redis
    open_until = account.claim_until if account.claim_attempt else None
    if open_until is not None and open_until <= facts.now:
        yield Finding(
            "interrupted",
            f"An attempt was left open {facts.now - open_until:.0f} s ago by a worker that is gone; its outcome is "
            "unknown.",
            f"The next plan replays it by itself; `refreshd refresh {account.id} --force --wait` does so now.",
        )
    if redis and redis.lease_holder and open_until is None and _is_gone(redis, facts):
        yield Finding(
            "lease_of_a_dead_worker",
            f"A lease is held by {redis.lease_holder.partition('/')[0]}, which does not answer; it ends by itself in "
            f"{redis.lease_s or 0:.0f} s.",
            "Wait for its end.",
        )
    if redis and redis.stashed:
        words = redis.stash_error or "it is stored as soon as the database takes it"
        yield Finding(
            "answer_in_stash",
            f"An answer of the provider waits, sealed, in Redis: {words}.",
            "Do not delete it: it may hold the only valid refresh token. "
            + (
                "Put its key back into REFRESHD_KEYS."
                if redis.stash_error
                else "`refreshd doctor` checks the database."
            ),
            wrong=redis.stash_error is not None,
        )


def _waiting(facts: Facts) -> Iterator[Finding]:
    due_at = facts.account.next_refresh_at
    if (
        due_at is not None
        and not facts.pauses
        and facts.now - due_at > OVERDUE_S
        and facts.account.status in {Status.ACTIVE, Status.DEGRADED}
    ):
        yield Finding(
            "overdue",
            f"It has been due for {facts.now - due_at:.0f} s.",
            "`refreshd status` shows whether the whole fleet is behind, and the queues.",
        )


def _published(facts: Facts) -> Iterator[Finding]:
    account, redis = facts.account, facts.redis
    alive = account.access_token_sealed is not None and (
        account.expires_at is None or account.expires_at > facts.now
    )
    if redis is None or not alive or redis.token_generation == account.generation:
        return
    has = "none" if redis.token_generation is None else f"generation {redis.token_generation}"
    if redis.state_generation is not None and redis.state_generation > account.generation:
        yield Finding(
            "database_older_than_redis",
            f"The database has generation {account.generation}, Redis has seen {redis.state_generation}: the database "
            "was restored from a backup.",
            "`refreshd db restored`",
        )
        return
    yield Finding(
        "not_published",
        f"The database has a good token (generation {account.generation}), Redis has {has}: readers see what Redis has.",
        "It is published again within seconds where a worker and beat run; `refreshd status` shows them.",
    )


def _clock(facts: Facts) -> Iterator[Finding]:
    if abs(facts.skew_s) > TOLERATED_SKEW_S:
        way = "ahead of" if facts.skew_s > 0 else "behind"
        yield Finding(
            "clock_skew",
            f"This machine's clock is {abs(facts.skew_s):.1f} s {way} the database's. A reader with such a clock takes "
            "good tokens for ended ones, or ended ones for good.",
            "Synchronize the clocks (NTP) of this machine, the connectors and the database.",
        )


def _rejected(facts: Facts) -> Iterator[Finding]:
    reported = [one for one in facts.attempts if one.trigger == Trigger.REPORTED]
    in_vain = any(one.reason == FRESH_TOKENS_REJECTED for one in reported)
    refreshed = [one for one in reported if one.outcome == Outcome.REFRESHED]
    if not in_vain and len(refreshed) < _REPORTS_TELLING:
        return
    lost = next((one.scope_lost for one in facts.attempts if one.scope_lost), None)
    narrowed = f" A refresh lost these scopes: {lost}." if lost else ""
    yield Finding(
        "api_rejects_fresh_tokens",
        "Connectors report that the API rejects tokens that are fresh: refreshing works, and is not what is missing. "
        f"Granted scopes: {facts.account.scope or 'not named by the provider'}.{narrowed}",
        "Compare the scopes, the user's permissions and the API's address with what the call needs; a new consent "
        "grants more scopes, a refresh never does.",
    )


def _was_impossible(facts: Facts) -> bool:
    """Tell whether a worker could not send it either: a worker's settings are not this shell's."""
    last = last_call(facts.attempts)
    return last is None or last.reason == REQUEST_IMPOSSIBLE


def _is_planned(facts: Facts) -> bool:
    return facts.account.next_refresh_at is not None


def _is_gone(redis: RedisFacts, facts: Facts) -> bool:
    holder = (redis.lease_holder or "").partition("/")[0]
    return facts.workers is not None and not any(holder in name for name in facts.workers)


_RULES: Final[tuple[Callable[[Facts], Iterator[Finding]], ...]] = (
    _stores,
    _keys,
    _policy,
    paused,
    _callback,
    _credentials,
    provider_says,
    _fleet,
    provider_budget,
    _claims,
    _published,
    _rejected,
    _waiting,
    _clock,
)
