"""Connect: sessions for platforms, and the pages that their customers' browsers see."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from pydantic import BaseModel, ConfigDict, Field

from models.api_key import ApiScope
from models.connect_session import ConnectSession, ConnectStatus
from worker.accounts.entry import RowRefused
from worker.api.auth import Caller, Here, allowed
from worker.api.connect_service import ConnectService
from worker.api.problems import FieldError, Kind, Problem, invalid, no_such_account
from worker.connect.browser_key import BrowserKey, hashed
from worker.connect.flow import GoTo, KeyOf, Show
from worker.connect.opening import EXPIRES_MAX_S, EXPIRES_MIN_S, EXPIRES_S, AccountHidden, Wanted
from worker.connect.rendering import HEADERS

router = APIRouter()

Connects = Annotated[Caller, Depends(allowed(ApiScope.CONNECT))]

#: A browser may keep a stylesheet: its URL has its content's hash.
_KEPT: Final = "public, max-age=31536000, immutable"
_NO_SITE: Final = frozenset({"cross-site", "same-site"})


class SessionIn(BaseModel):
    """What a session is opened with."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    account: str = Field(description="The account that is connected: a new id, or one that is there.")
    client: str = Field(description="The client's name (`PUT /v1/clients/{name}`).")
    return_url: str = Field(description="Where the browser goes afterwards; the client has to allow it.")
    provider: str | None = Field(None, description="The client's provider; checked where it is given.")
    scope: str | None = Field(
        None, description="What is asked for; default: the account's, else the provider's."
    )
    labels: dict[str, str] = Field(default_factory=dict, description="Labels of an account that is made.")
    custom_fields: dict[str, str] = Field(
        default_factory=dict,
        description="Custom fields of the account, such as a tenant's subdomain.",
        repr=False,
    )
    expires_in_s: float = Field(
        EXPIRES_S, ge=EXPIRES_MIN_S, le=EXPIRES_MAX_S, description="Seconds in which it may be begun."
    )


class SessionOpened(BaseModel):
    """A session that was opened."""

    id: str
    url: str = Field(description="Where the platform sends its customer's browser.")
    expires_at: float = Field(description="Epoch seconds until which it may be begun.")


class SessionOut(BaseModel):
    """What has become of a session."""

    id: str
    account: str
    provider: str
    client: str
    labels: dict[str, str]
    return_url: str
    status: ConnectStatus
    reason: str | None = Field(description="Why it failed (docs/connect.md).")
    detail: str | None = Field(description="What the provider said, or which field was wrong.")
    outcome: str | None = Field(
        description="`connected`, `reconnected` or `replaced`, as of `PUT .../grant`."
    )
    generation: int | None = Field(description="The generation of the account that the grant is.")
    created_at: float
    expires_at: float
    ended_at: float | None


def service_of(request: Request, here: Here) -> ConnectService:
    """Return Connect of this process, put together with its first use."""
    state = request.app.state
    if not hasattr(state, "connect"):
        state.connect = ConnectService(here)
    found: ConnectService = state.connect
    return found


Service = Annotated[ConnectService, Depends(service_of)]


@router.post(
    "/v1/connect/sessions", status_code=HTTPStatus.CREATED, tags=["connect"], summary="Open a Connect session"
)
def open_session(body: SessionIn, caller: Connects, connect: Service) -> SessionOpened:
    """Open a session: the customer's browser is sent to `url`, and comes back to `return_url`."""
    wanted = Wanted(**body.model_dump())
    try:
        session = connect.opener.open(wanted, actor=caller.name, require_labels=dict(caller.labels))
    except RowRefused as refused:
        raise invalid(*(FieldError(one.field, one.reason) for one in refused.problems)) from None
    except AccountHidden:
        raise no_such_account() from None
    return SessionOpened(id=session.id, url=connect.flow.url_of(session), expires_at=session.expires_at)


@router.get("/v1/connect/sessions/{session_id}", tags=["connect"], summary="What became of a session")
def show_session(session_id: str, caller: Connects, connect: Service) -> SessionOut:
    """Show a session. What the browser brings to `return_url` is a hint; this is what happened."""
    session = connect.sessions.find(session_id)
    if session is None or not caller.sees(session.label_set):
        raise Problem(
            Kind.NOT_FOUND, "there is no session of this id; it is kept for seven days after its end"
        )
    return _shown(session)


@router.get("/connect/style.css", include_in_schema=False)
def stylesheet(connect: Service) -> Response:
    """Return the stylesheet of the pages."""
    return Response(
        connect.flow.stylesheet(), media_type="text/css", headers={**HEADERS, "cache-control": _KEPT}
    )


@router.get("/connect/callback", include_in_schema=False)
async def callback(request: Request, connect: Service) -> Response:
    """Take what a provider's redirect brings."""
    return _answer(
        connect, await connect.flow.back(request.query_params.multi_items(), _keys(request, connect))
    )


@router.get("/connect/{session_id}", include_in_schema=False)
def page(session_id: str, request: Request, connect: Service) -> Response:
    """Show a session's page."""
    return _answer(connect, connect.flow.open(session_id, _keys(request, connect)), session_id)


@router.post("/connect/{session_id}", include_in_schema=False)
def begin(session_id: str, request: Request, connect: Service) -> Response:
    """Send the browser to the provider."""
    from_our_page = request.headers.get("sec-fetch-site") not in _NO_SITE
    found = connect.flow.begin(session_id, _keys(request, connect), from_our_page=from_our_page)
    return _answer(connect, found, session_id)


@router.get("/connect/{session_id}/finish", include_in_schema=False)
def finish(session_id: str, request: Request, connect: Service) -> Response:
    """Send the browser back to the platform, or have it wait."""
    return _answer(connect, connect.flow.finish(session_id, _keys(request, connect)))


def _keys(request: Request, connect: ConnectService) -> KeyOf:
    """Return what gives the key that the request's browser has for a session."""
    return lambda session_id: BrowserKey.of_cookie(request.cookies.get(cookie_name(connect.url, session_id)))


def cookie_name(url: str, session_id: str) -> str:
    """Return the name of a session's cookie.

    Behind https no other host of the domain can set it, for its name says so to the browser (RFC 6265bis, `__Host-`).
    """
    name = f"refreshd-connect-{hashed(session_id)[:16]}"
    return f"__Host-{name}" if url.startswith("https:") else name


def _answer(connect: ConnectService, found: Show | GoTo, session_id: str = "") -> Response:
    if isinstance(found, GoTo):
        return RedirectResponse(found.url, HTTPStatus.SEE_OTHER, headers=HEADERS)
    response = HTMLResponse(found.html, found.status, headers=HEADERS)
    if found.key is not None:
        response.set_cookie(
            cookie_name(connect.url, session_id),
            found.key.secret.reveal(),
            max_age=found.keep_s,
            path="/",
            secure=connect.url.startswith("https:"),
            httponly=True,
            samesite="lax",  # strict would not send it along with the provider's redirect
        )
    return response


def _shown(session: ConnectSession) -> SessionOut:
    values: dict[str, Any] = {
        name: getattr(session, name) for name in SessionOut.model_fields if name not in _MADE
    }
    return SessionOut(
        **values, labels=session.label_set, ended_at=session.ends_at if session.has_ended else None
    )


_MADE: Final = frozenset({"labels", "ended_at"})
