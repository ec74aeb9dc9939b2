"""The local provider's administration: make and revoke grants, set faults and latency."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from worker.clock import wall_clock
from worker.local.demo.provider.faults import FaultSpec
from worker.local.demo.provider.grants import REVOKED_BY_OWNER, DemoGrant, Grants, GrantSpec
from worker.local.demo.provider.state import STATE

admin_routes = web.RouteTableDef()

Model = TypeVar("Model", bound=BaseModel)


class Bulk(BaseModel):
    """Grants one by one, or so many alike: PREFIX1, PREFIX2 ..."""

    model_config = ConfigDict(extra="forbid")

    grants: list[GrantSpec] = Field(default_factory=list)
    count: int = Field(0, ge=0, le=100_000)
    prefix: str = "grant-"
    like: dict[str, Any] = Field(default_factory=dict)

    def specs(self) -> Iterator[GrantSpec]:
        """Return each grant.

        Raises:
            ValidationError: `like` is no grant.
        """
        yield from self.grants
        for number in range(1, self.count + 1):
            yield GrantSpec.model_validate({**self.like, "id": f"{self.prefix}{number}"})


class FaultList(BaseModel):
    """Faults to add to those that are set."""

    model_config = ConfigDict(extra="forbid")

    faults: list[FaultSpec]


class SettingsChange(BaseModel):
    """What may be changed while the provider runs."""

    model_config = ConfigDict(extra="forbid")

    latency_s: float = Field(ge=0)


def account_row(grants: Grants, grant: DemoGrant, *, token_url: str) -> dict[str, Any]:
    """Return a grant as an accounts file knows it; `provider` and the session policy are for the caller to add."""
    tokens, spec = grants.tokens(grant), grant.spec
    row = {
        "id": spec.id,
        "client_id": spec.client_id,
        "client_secret": spec.client_secret,
        "client_auth": spec.client_auth,
        "token_url": token_url,
        "access_token": tokens.access_token,
        "refresh_token": tokens.refresh_token,
        "scope": spec.scope,
        "issued_at": tokens.issued_at,
        "expires_in": spec.lifetime_s,
    }
    if spec.client_auth == "none":
        del row["client_secret"]
    return row


@admin_routes.post("/admin/grants")
async def put_grants(request: web.Request) -> web.Response:
    """Make grants; answers with each one's tokens, as fields of an accounts file."""
    try:
        specs = list((await _read(request, Bulk)).specs())
    except ValidationError as error:
        raise _unreadable(error) from None
    grants, now = request.app[STATE].grants, wall_clock()
    token_url = f"{request.scheme}://{request.host}/token"
    rows = [account_row(grants, grants.put(spec, now=now), token_url=token_url) for spec in specs]
    return web.json_response({"grants": rows})


@admin_routes.post("/admin/grants/{id}/revoke")
async def revoke(request: web.Request) -> web.Response:
    """Revoke a grant, as its owner would in the provider's own pages."""
    grant = request.app[STATE].grants.by_id.get(request.match_info["id"])
    if grant is None:
        raise web.HTTPNotFound(text="no such grant\n")
    grant.revoke(REVOKED_BY_OWNER)
    return web.json_response(grant.counts())


@admin_routes.patch("/admin/settings")
async def change_settings(request: web.Request) -> web.Response:
    """Change how the provider behaves from now on."""
    state = request.app[STATE]
    state.latency_s = (await _read(request, SettingsChange)).latency_s
    return web.json_response({"latency_s": state.latency_s})


@admin_routes.post("/admin/faults")
async def add_faults(request: web.Request) -> web.Response:
    """Add faults to those that are set."""
    request.app[STATE].faults.set += (await _read(request, FaultList)).faults
    return _listed(request)


@admin_routes.get("/admin/faults")
async def list_faults(request: web.Request) -> web.Response:
    """Show the faults that are set, and how often each happened."""
    return _listed(request)


@admin_routes.delete("/admin/faults")
async def clear_faults(request: web.Request) -> web.Response:
    """End all faults. Calls that hang still do."""
    request.app[STATE].faults.set.clear()
    return _listed(request)


def _listed(request: web.Request) -> web.Response:
    faults = [fault.model_dump(exclude_none=True) for fault in request.app[STATE].faults.set]
    return web.json_response({"faults": faults})


async def _read(request: web.Request, model: type[Model]) -> Model:
    # A page in a browser can't send this type to another origin without asking first.
    if request.content_type != "application/json":
        raise web.HTTPUnsupportedMediaType(text="send application/json\n")
    try:
        return model.model_validate_json(await request.read())
    except ValidationError as error:
        raise _unreadable(error) from None


def _unreadable(error: ValidationError) -> web.HTTPUnprocessableEntity:
    return web.HTTPUnprocessableEntity(text=f"{error}\n")
