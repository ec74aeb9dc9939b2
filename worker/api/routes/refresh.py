"""`POST /v1/accounts/{id}/refresh`: as the command."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from models.tables.account import Account
from models.tables.attempt import Attempt
from models.tables.audit import Act, Action, Actor
from worker.api.auth import Caller, Here, Writes
from worker.api.bodies import as_model, optional_object
from worker.api.context import ApiContext
from worker.api.document.openapi import body_of, describes
from worker.api.idempotent import IdempotencyKey, once
from worker.api.params import AccountId
from worker.api.routes.accounts import find
from worker.celery.forced_refresh import QUEUED, line, line_of, not_now, send_forced

router = APIRouter(tags=["accounts"])

#: Longer than any call to a provider, and than its wait in a queue.
WAIT_MAX_S: Final = 120.0
#: How often the history is looked at for the outcome.
_LOOK_S: Final = 0.05


class RefreshRequest(BaseModel):
    """What the route takes."""

    model_config = ConfigDict(extra="forbid", strict=True)

    force: bool = Field(False, description="Refresh even if not due, paused, disabled or session `none`.")
    wait_s: float = Field(0, ge=0, le=WAIT_MAX_S, description="Seconds to wait for the outcome.")


@router.post(
    "/v1/accounts/{id}/refresh",
    **describes(
        "refresh_account", "Refresh an account now", "Refreshed", *(404, 409, 413, 415), accepted=True
    ),
    openapi_extra=body_of("RefreshRequest", required=False),
)
async def refresh_account(
    request: Request,
    account_id: AccountId,
    here: Here,
    caller: Writes,
    _idempotency_key: IdempotencyKey = None,
) -> Response:
    """A worker refreshes it, ahead of planned refreshes. Without `force` only where it is due.

    The outcome is a verdict (docs/verdicts.md), `not_due`, `disabled`, `busy` and the like, or `queued` (202) where it was not
    waited for, or did not come within `wait_s`.
    """
    wanted = as_model(RefreshRequest, await optional_object(request))

    async def work() -> tuple[int, dict[str, Any]]:
        account = await find(here, caller, account_id)
        found = await _refreshed(here, caller, account, wanted)
        return (202 if found["outcome"] == QUEUED else 200), found

    return await once(here, caller, request, work)


async def _refreshed(
    here: ApiContext, caller: Caller, account: Account, wanted: RefreshRequest
) -> dict[str, Any]:
    held, now = await here.read(
        lambda: (bool(here.pauses.of(account.id, account.provider)), here.clock.now())
    )
    if not wanted.force and (found := not_now(account, now, paused=held)):
        return found
    act = Act(
        Action.REFRESH,
        account.id,
        account.provider,
        {"generation": account.generation, "force": wanted.force},
    )
    await here.write(lambda: here.trail.record(Actor(caller.name, here.host), act))
    tasks = await here.read(send_forced, [account])
    attempt = await _outcome(here, account.id, tasks, wanted.wait_s)
    if attempt is None:
        return line(account.id, QUEUED, "waiting for a worker", account.generation)
    return line_of(attempt)


async def _outcome(here: ApiContext, account_id: str, tasks: list[str], wait_s: float) -> Attempt | None:
    until = time.monotonic() + wait_s
    while time.monotonic() < until:
        if attempt := (await here.read(here.history.by_tasks, [account_id], tasks)).get(account_id):
            return attempt
        await asyncio.sleep(_LOOK_S)
    return None
