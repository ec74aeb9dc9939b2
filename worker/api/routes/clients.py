"""Clients: what a provider registered for this installation, shared by the accounts that name it."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from starlette.responses import JSONResponse, Response

from worker.api.auth import Administers, Caller, Here
from worker.api.bodies import json_object
from worker.api.document.openapi import body_of, describes
from worker.api.params import ClientName
from worker.api.problems import FieldError, Kind, Problem, invalid
from worker.api.replies import ask
from worker.api.views import client_shown
from worker.db.accounts.clients import Clients
from worker.intake.requests import Op

router = APIRouter(tags=["clients"])


async def _of_all(caller: Administers) -> Caller:
    """Return the caller, whose key is bound to no label: a client is shared by accounts of any."""
    if caller.labels:
        raise Problem(
            Kind.FORBIDDEN, "a key that is bound to labels does not see clients, which all accounts share"
        )
    return caller


Unbound = Annotated[Caller, Depends(_of_all)]


@router.get("/v1/clients", **describes("list_clients", "List clients", "ClientList"))
async def list_clients(here: Here, caller: Unbound) -> dict[str, Any]:  # noqa: ARG001  (it is let in)
    """All clients, in the order of their names. Secrets are never shown."""
    found, counts = await here.read(lambda: (Clients(here.engine).all(), Clients(here.engine).accounts()))
    return {"clients": [client_shown(one, counts.get(one.name, 0)) for one in found]}


@router.get("/v1/clients/{name}", **describes("get_client", "Get a client", "Client", 404))
async def get_client(name: ClientName, here: Here, caller: Unbound) -> dict[str, Any]:  # noqa: ARG001
    """What is known of it; of its secret, whether it has one and when that ends."""
    found, counts = await here.read(
        lambda: (Clients(here.engine).find([name]), Clients(here.engine).accounts())
    )
    if name not in found:
        raise Problem(Kind.NOT_FOUND, "no client has this name; GET /v1/clients lists them")
    return client_shown(found[name], counts.get(name, 0))


@router.put(
    "/v1/clients/{name}",
    **describes(
        "put_client", "Create or change a client", "AppliedClient", *(404, 409, 413, 415, 504), created=True
    ),
    openapi_extra=body_of("ClientFields"),
)
async def put_client(request: Request, name: ClientName, here: Here, caller: Unbound) -> Response:
    """Fields that are left out keep their values. A new secret wakes the accounts that the old one's end had stopped."""
    fields = await json_object(request)
    if fields.pop("name", name) != name:
        raise invalid(FieldError("name", "is not the name of the URL; leave it out"))
    result = await ask(here, caller, Op.PUT_CLIENT, {"name": name, "fields": fields})
    return JSONResponse(result, 201 if result.get("outcome") == "added" else 200)


@router.delete(
    "/v1/clients/{name}", **describes("remove_client", "Remove a client", "RemovedClient", *(404, 409, 504))
)
async def remove_client(name: ClientName, here: Here, caller: Unbound) -> dict[str, Any]:
    """Only where no account names it (409 else)."""
    return await ask(here, caller, Op.REMOVE_CLIENT, {"name": name})
