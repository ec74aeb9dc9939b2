"""The ops on grants: stored by a worker where published tokens are sealed, or tried before they are stored."""

from __future__ import annotations

from models.tables.account import Account
from worker.accounts.grants.replacement import Grant, Moved, StoredGrant, read_grant, token_set
from worker.accounts.grants.verification import Unverified, Verifier
from worker.errors import DatabaseUnreachable, RefreshdError
from worker.intake.account_ops import AccountPayload
from worker.intake.carry_out import Desk, handles, payload_of, problems
from worker.intake.provider_slots import provider_slots
from worker.intake.requests import Code, IntakeRequest, Op, Reply
from worker.log import log
from worker.redis.client import in_words
from worker.redis.pending_answers import PendingAnswer, PendingAnswers


@handles(Op.PUT_GRANT)
def put_grant(desk: Desk, request: IntakeRequest) -> Reply:
    """Replace an account's grant by a new one."""
    return put(desk, _grant(request))


@handles(Op.VERIFY_GRANT, asks_provider=True)
def verify_grant(desk: Desk, request: IntakeRequest) -> Reply:
    """Replace an account's grant by a new one that refreshes: it is tried first, and nothing is stored where that fails."""
    grant = _grant(request)
    services, here = desk.services, desk.tools.stores
    account = services.editor.account(grant.account)
    # What would be refused afterwards must not be spent by a try; nor what was tried and stored before.
    if (stored := services.grants.check(grant)) is not None:
        return _published(desk, stored)
    verifier = Verifier(
        sealer=here.sealer,
        checker=services.checker,
        client_of=here.clients.of,
        client=desk.tools.client,
        now=here.clock.now,
        call_timeout_s=here.settings.call_timeout_s,
    )
    asked = verifier.asked(grant, account)
    with services.trial(grant, account):
        try:
            with provider_slots.slot(asked):
                verified = desk.tools.run(verifier.verify(grant, account))
        except Unverified as refused:
            return Reply(code=Code.REFUSED, problems=problems(refused), result=refused.verdict)
        try:
            return put(desk, verified)
        except (DatabaseUnreachable, Moved) as error:
            return _parked(desk, verified, account, error)


def _parked(desk: Desk, grant: Grant, account: Account, error: RefreshdError) -> Reply:
    """Keep a refreshed grant that the database does not take now, and return the reply.

    It is sealed in Redis, where the next refresh of the account finds it: the token that was given may be spent.
    """
    here = desk.tools.stores
    provider = here.providers.for_schedule(account)
    if provider is not None:
        tokens = token_set(grant, account, provider, now=here.clock.now())
        sealed = PendingAnswers.seal_with(here.cipher, account.id, PendingAnswer(account.generation, tokens))
        with in_words(here.settings.redis):
            here.redis.set(here.keys.stash(account.id), sealed)
    log.error("verified_grant_parked", account=account.id, error=str(error))
    return Reply(
        code=Code.UNAVAILABLE,
        detail=f"the grant refreshes, and could not be stored: {error}. Its new tokens wait in Redis, sealed; "
        f"`refreshd refresh {account.id} --force` stores them. Do not send the same refresh token again",
    )


def put(desk: Desk, grant: Grant) -> Reply:
    """Store a grant, publish it, and return the reply.

    Raises:
        UnknownAccount, RowRefused, Moved: it is not stored.
        DatabaseUnreachable: whether it is stored is unknown.
    """
    stored = desk.services.grants.store_one(grant)
    return _published(desk, stored)


def _published(desk: Desk, stored: StoredGrant) -> Reply:
    publisher = desk.services.publisher
    publisher.put([stored.publication], stored.events)
    published = not publisher.unreachable and stored.account.id not in publisher.newer
    return Reply(code=Code.DONE, result=stored.as_json(published=published))


def _grant(request: IntakeRequest) -> Grant:
    payload = payload_of(request, AccountPayload)
    return read_grant(
        payload.account,
        payload.fields,
        actor=request.by,
        require_labels=request.require_labels,
        consented_at=request.sent_at,
    )
