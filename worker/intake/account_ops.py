"""The ops on single accounts: created, configured, given a grant, removed."""

from __future__ import annotations

from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Connection

from models.event import Event
from models.tables.audit import Act, Action
from worker.accounts.apply import Applied
from worker.accounts.columns import LABELS
from worker.accounts.entry import AccountEntry, Problem, RowRefused, read_entry
from worker.accounts.grants.replacement import connected_event
from worker.accounts.grants.revoker import Revoked
from worker.db.outbox import put
from worker.intake.carry_out import Desk, handles, payload_of
from worker.intake.provider_slots import provider_slots
from worker.intake.requests import RETRY_AFTER_S, Code, IntakeRequest, Op, Reply
from worker.providers.revocation import Revocation

#: Of a label: what is stored gets the key's own, so another value would be lost without a word.
NOT_THE_KEY_S: Final = "is not the label of this key; leave it out, or send the key's own"
#: There is nothing left at the provider, or never was.
_ENDED = frozenset({Revocation.REVOKED, Revocation.NO_TOKEN})


class Payload(BaseModel):
    """What every payload keeps to: no field that is not known, no value in an error."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


class AccountPayload(Payload):
    """An account's id, and fields of an accounts file; None takes a value back to its default."""

    account: str
    fields: dict[str, Any] = Field(default_factory=dict, repr=False)


class RemovePayload(Payload):
    """An account's id, and whether its grant is ended at the provider first; `force`: removed also where that fails."""

    account: str
    revoke: bool = False
    force: bool = False


@handles(Op.PUT_ACCOUNT)
def put_account(desk: Desk, request: IntakeRequest) -> Reply:
    """Create an account, or change its configuration. One that is created with a grant is `connected` by it."""
    stores, events = desk.tools.stores, list[Event]()

    def connected(connection: Connection, applied: Applied) -> None:
        if applied.account.refresh_fp is None and applied.access_token is None:
            return
        events[:] = [connected_event(applied.account, now=stores.clock.now())]
        told = stores.settings.webhook_event_types
        put(connection, [event for event in events if event.type in told])

    applied = desk.services.editor.put(_entry(request), also=connected)
    desk.services.publisher.put([], events)
    return _done(desk, applied)


@handles(Op.PATCH_ACCOUNT)
def patch_account(desk: Desk, request: IntakeRequest) -> Reply:
    """Change what is named of an account that is there."""
    return _done(desk, desk.services.editor.edit(_entry(request), spent_stays=True))


@handles(Op.REMOVE_ACCOUNT, asks_provider=True)
def remove_account(desk: Desk, request: IntakeRequest) -> Reply:
    """Remove an account, and end its grant at the provider first where that is asked for."""
    payload = payload_of(request, RemovePayload)
    editor, publisher = desk.services.editor, desk.services.publisher
    (account,) = editor.to_remove([payload.account])
    if not payload.revoke:
        editor.remove([account.id])
        return _removed(Revoked(account.id, Revocation.NO_TOKEN), asked=False)
    publisher.require()
    with desk.services.revoker(provider_slots.slot) as revoker:
        revoked = revoker.revoke(account)
        busy = revoked.outcome is Revocation.BUSY
        if revoked.outcome in _ENDED or (payload.force and not busy):
            editor.remove([account.id], revoked=revoked)
            return _removed(revoked, asked=True)
        if revoked.outcome is Revocation.FAILED:  # it was asked, perhaps, and may have done it
            desk.tools.stores.audit.record(
                request.by, Act(Action.REVOKE, account.id, detail=revoked.as_detail())
            )
        revoker.give_back(account.id)
    if busy:
        return Reply(code=Code.CONFLICT, detail=revoked.reason)
    return _kept(revoked)


def _entry(request: IntakeRequest) -> AccountEntry:
    payload = payload_of(request, AccountPayload)
    entry = read_entry({**payload.fields, "id": payload.account}, empty_takes_back=True)
    differ = [
        name for name, value in request.require_labels.items() if entry.labels.get(name, value) != value
    ]
    if differ:
        raise RowRefused([Problem(f"{LABELS}.{name}", NOT_THE_KEY_S) for name in differ])
    if LABELS in payload.fields or entry.labels:
        entry.labels |= request.require_labels
    return entry


def _kept(revoked: Revoked) -> Reply:
    """Return the reply where the grant was not ended, and nothing was removed."""
    result: dict[str, Any] = {
        "account": revoked.account,
        "removed": False,
        "revocation": revoked.outcome.value,
    }
    if revoked.again_after_s is None:
        detail = (
            f"the grant was not ended, and nothing was removed: {revoked.reason}. To remove the account all the same, "
            "leave `revoke` out; its grant then stays valid at the provider"
        )
        return Reply(code=Code.CONFLICT, detail=detail, result=result)
    detail = (
        f"the provider could not be asked to end the grant, and nothing was removed: {revoked.reason}. Ask again later; "
        "without `revoke` the account is removed at once, and its grant stays valid at the provider"
    )
    return Reply(code=Code.UNAVAILABLE, detail=detail, result=result | {RETRY_AFTER_S: revoked.again_after_s})


def _removed(revoked: Revoked, *, asked: bool) -> Reply:
    result = {"account": revoked.account, "removed": True, "revocation": None, "reason": revoked.reason}
    return Reply(code=Code.DONE, result=result | ({"revocation": revoked.outcome.value} if asked else {}))


def _done(desk: Desk, applied: Applied) -> Reply:
    account, publisher = applied.account, desk.services.publisher
    return Reply(
        code=Code.DONE,
        result={
            "account": account.id,
            "outcome": applied.outcome.value,
            "changed": list(applied.changed),
            "generation": account.generation,
            "status": account.status,
            "reason": account.reason,
            "next_refresh_at": account.next_refresh_at,
            "expires_at": account.expires_at,
            "published": not publisher.unreachable and account.id not in publisher.newer,
        },
    )
