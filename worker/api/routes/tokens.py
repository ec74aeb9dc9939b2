"""Access tokens for whoever can't reach Redis, and reports of rejected ones."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from models.tables.audit import Act, Action, Actor
from refreshd_reader.errors import NoUsableToken, RefreshUnderWay, TokenTooShort
from worker.api.auth import Here, ReadsTokens
from worker.api.bodies import as_model, json_object
from worker.api.document.openapi import body_of, describes
from worker.api.idempotent import IdempotencyKey, once
from worker.api.params import AccountId
from worker.api.problems import Kind, Problem
from worker.api.routes.accounts import find

router = APIRouter(tags=["tokens"])

#: No token is asked to last longer.
_LIFETIME_MAX_S: Final = 86_400.0
_WORDS: Final = {
    RefreshUnderWay: "refresh_under_way",
    TokenTooShort: "token_too_short",
}


class RejectedToken(BaseModel):
    """What the route takes."""

    model_config = ConfigDict(extra="forbid", strict=True)

    generation: int = Field(ge=0, le=2**62, description="Of the token that the API refused.")
    http_status: int = Field(401, ge=100, le=599, description="The status of the API's answer.")


@router.get("/v1/accounts/{id}/token", **describes("get_token", "Get an access token", "Token", *(404, 409)))
async def get_token(
    account_id: AccountId,
    here: Here,
    caller: ReadsTokens,
    min_lifetime_s: Annotated[
        float, Query(ge=0, le=_LIFETIME_MAX_S, description="How long the token must still last, seconds.")
    ] = 0,
) -> dict[str, Any]:
    """The published token, where REFRESHD_API_TOKENS=true; 403 where it is not.

    Where there is none to use the answer is a 409, and its `reason` says why; `Retry-After` says that one will come.
    """
    if not here.api.tokens:
        raise Problem(
            Kind.FORBIDDEN, "this API gives no tokens out (REFRESHD_API_TOKENS); connectors read Redis"
        )
    account = await find(here, caller, account_id)
    try:
        token = await here.reader.get(account.id, min_lifetime_s)
    except NoUsableToken as error:
        raise _no_token(error, account.status, account.reason) from None
    return {
        "account": account.id,
        "generation": token.generation,
        "access_token": token.access_token,
        "token_type": token.token_type,
        "scope": token.scope,
        "issued_at": token.issued_at,
        "expires_at": token.expires_at,
        "extra": dict(token.extra),
    }


@router.post(
    "/v1/accounts/{id}/token/rejected",
    **describes("report_rejected", "Report a rejected token", "Reported", *(404, 409, 413, 415), only=202),
    openapi_extra=body_of("RejectedToken"),
)
async def report_rejected(
    request: Request,
    account_id: AccountId,
    here: Here,
    caller: ReadsTokens,
    _idempotency_key: IdempotencyKey = None,
) -> Response:
    """An API refused this generation of the account's token, as connectors report it in Redis.

    Workers refresh at once, and only once however many report it; a report of an older generation changes nothing.
    """
    report = as_model(RejectedToken, await json_object(request))

    async def work() -> tuple[int, dict[str, Any]]:
        account = await find(here, caller, account_id)
        if report.generation == account.generation:  # else it changes nothing
            detail = {"generation": report.generation, "rejected": report.http_status}
            act = Act(Action.REFRESH, account.id, account.provider, detail)
            await here.write(lambda: here.trail.record(Actor(caller.name, here.host), act))
        await here.reader.report_rejected(account.id, report.generation, report.http_status)
        return 202, {"account": account.id, "generation": report.generation, "reported": True}

    return await once(here, caller, request, work)


def _no_token(error: NoUsableToken, status: str, reason: str | None) -> Problem:
    """Return the problem of an account without a usable token; the error's own text is a connector's."""
    word = _WORDS.get(type(error))
    passing = word is not None
    return Problem(
        Kind.NO_TOKEN,
        f"{'no token that lasts long enough' if isinstance(error, TokenTooShort) else 'no token to use'}: the account is {error.status or status}"
        f"{f' ({error.reason or reason})' if error.reason or reason else ''}; GET .../explain says what to do",
        headers={"Retry-After": "1"} if passing else None,
        more={"account_status": error.status or status, "reason": error.reason or reason or word or status},
    )
