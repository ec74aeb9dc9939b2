"""The ops on single accounts: created, configured, given a grant."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from models.audit import Action
from worker.accounts.apply import Applied
from worker.accounts.entry import read_entry
from worker.intake.carry_out import Desk, handles, payload_of
from worker.intake.requests import Code, IntakeRequest, Op, Reply


class AccountPayload(BaseModel):
    """An account's id, and fields of an accounts file; None takes a value back to its default."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    account: str
    fields: dict[str, Any] = Field(default_factory=dict, repr=False)


@handles(Op.PUT_ACCOUNT)
def put_account(desk: Desk, request: IntakeRequest) -> Reply:
    """Create an account, or change its configuration."""
    payload = payload_of(request, AccountPayload)
    entry = read_entry({**payload.fields, "id": payload.account}, empty_takes_back=True)
    return _done(desk, desk.services.editor.put(entry))


@handles(Op.PUT_GRANT)
def put_grant(desk: Desk, request: IntakeRequest) -> Reply:
    """Replace an account's grant by a new one."""
    payload = payload_of(request, AccountPayload)
    entry = read_entry({**payload.fields, "id": payload.account})
    return _done(desk, desk.services.editor.edit(entry, Action.AUTHORIZE))


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
