"""The ops on grants: stored by a worker where published tokens are sealed, or tried before they are stored."""

from __future__ import annotations

from worker.accounts.grants.replacement import Grant, Moved, StoredGrant, read_grant
from worker.accounts.grants.verification import Unverified, Verifier
from worker.errors import DatabaseUnreachable
from worker.intake.account_ops import AccountPayload
from worker.intake.carry_out import Desk, handles, payload_of, problems
from worker.intake.parked_grants import park, words_of
from worker.intake.provider_slots import provider_slots
from worker.intake.requests import Code, IntakeRequest, Op, Reply


@handles(Op.PUT_GRANT)
def put_grant(desk: Desk, request: IntakeRequest) -> Reply:
    """Replace an account's grant by a new one."""
    return put(desk, _grant(request))


@handles(Op.VERIFY_GRANT, asks_provider=True)
def verify_grant(desk: Desk, request: IntakeRequest) -> Reply:
    """Replace an account's grant by a new one that refreshes: it is tried first, and nothing is stored where that fails."""
    grant = _grant(request)
    services, here = desk.services, desk.tools.stores
    account, at = services.editor.account(grant.account), here.clock.now()
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
            parked = park(here, verified, account, sent=grant.tokens.refresh_token, at=at)
            return Reply(code=Code.UNAVAILABLE, detail=words_of(account.id, error, parked=parked))


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
