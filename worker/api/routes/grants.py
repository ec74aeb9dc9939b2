"""`PUT /v1/accounts/{id}/grant`: the customer consented, for the first time or again."""

from __future__ import annotations

from typing import Any, Final

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from models.tables.audit import Actor
from worker.accounts.entry import RowRefused
from worker.accounts.grants.replacement import Moved, NeedsWorker, read_grant
from worker.api.auth import Caller, Here, Writes, may_write
from worker.api.bodies import json_object
from worker.api.context import ApiContext
from worker.api.direct import DirectRoute, route_of
from worker.api.document.openapi import body_of, describes
from worker.api.params import AccountId
from worker.api.problems import FieldError, Kind, Problem, invalid, no_such_account
from worker.api.replies import ask, row_refused
from worker.errors import UnknownAccount
from worker.intake.requests import Op

router = APIRouter(tags=["accounts"])

#: What a token response may have beside this is published where the provider's data says so (`instance_url`).
_VERIFY = "verify"


@router.put(
    "/v1/accounts/{id}/grant",
    **describes("put_grant", "Store a new grant", "Granted", *(404, 409, 413, 415, 504)),
    openapi_extra=body_of("Grant"),
)
async def put_grant(request: Request, account_id: AccountId, here: Here, caller: Writes) -> Response:
    """The token response that a consent brought, as it came (RFC 6749 section 5.1).

    It replaces the stored grant (generation + 1), ends `reauthorize`, clears old refusals, and can be read in Redis
    when the answer comes (`published`; false where Redis was away: a worker publishes it then). `outcome` is `connected` (the
    account never had a token), `reconnected` (it was in trouble) or `replaced`. With `verify: true` one refresh is made
    first; where the provider refuses it, the answer is a 422 with its `verdict`, and nothing is stored. A repetition that comes
    after a refresh changes nothing, and is answered with the account as it is.
    """
    fields = await json_object(request)
    verify = fields.pop(_VERIFY, False)
    if not isinstance(verify, bool):
        raise invalid(FieldError(_VERIFY, "expected true or false"))
    if not verify and here.publishes:
        try:
            return JSONResponse(await _taken_here(here, caller, account_id, fields))
        except NeedsWorker:
            pass
    op = Op.VERIFY_GRANT if verify else Op.PUT_GRANT
    result = await ask(here, caller, op, {"account": account_id, "fields": fields}, calls_provider=verify)
    return JSONResponse(result)


async def _taken_here(
    here: ApiContext, caller: Caller, account_id: str, fields: dict[str, Any]
) -> dict[str, Any]:
    service = await here.grant_service()
    try:
        grant = read_grant(
            account_id, fields, actor=Actor(caller.name, here.host), require_labels=caller.labels
        )
        taken = await service.put(grant)
    except UnknownAccount:
        raise no_such_account() from None
    except RowRefused as error:
        raise row_refused(error) from None
    except Moved as error:
        raise Problem(Kind.CONFLICT, str(error), headers={"Retry-After": "1"}) from None
    return taken.stored.as_json(published=taken.published)


#: Each grant comes this way.
DIRECT: Final = DirectRoute(route_of(router.routes, "put_grant"), may_write, put_grant)
