"""Connect: sessions for platforms, and the pages that their customers' browsers see."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Path, Request
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from pydantic import BaseModel, ConfigDict, Field

from models.tables.api_key import ApiScope
from models.tables.connect_session import ConnectSession
from worker.accounts.entry import RowRefused
from worker.api.auth import Caller, Here, allowed, context_of
from worker.api.bodies import as_model, json_object
from worker.api.connect.browser_limits import TooManyPages, WithinLimits, page_of
from worker.api.connect.service import ConnectService
from worker.api.document.openapi import body_of, describes
from worker.api.idempotent import IdempotencyKey, once
from worker.api.problems import Kind, Problem, no_such_account
from worker.api.replies import row_refused
from worker.connect.browser_key import BrowserKey, hashed
from worker.connect.flow import GoTo, KeyOf, Show
from worker.connect.opening import EXPIRES_S, AccountHidden, Wanted
from worker.connect.rendering import HEADERS
from worker.providers.discovery.client_document import document

router = APIRouter()

Connects = Annotated[Caller, Depends(allowed(ApiScope.CONNECT))]

_SESSION_ID: Final = re.compile(r"cs_[A-Za-z0-9_-]{32}")
#: A browser may keep a stylesheet: its URL has its content's hash.
_KEPT: Final = "public, max-age=31536000, immutable"
#: A server that keeps it learns of another name or address within the hour.
_DOCUMENT_KEPT: Final = "public, max-age=3600"
_NO_SITE: Final = frozenset({"cross-site", "same-site"})


class SessionFields(BaseModel):
    """What a session is opened with; `worker/connect/opening.py` says what of it can't be."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True, strict=True)

    account: str
    return_url: str
    client: str | None = None
    provider: str | None = None
    resource: str | None = None
    issuer: str | None = None
    scope: str | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    custom_fields: dict[str, str] = Field(default_factory=dict, repr=False)
    expires_in_s: float = EXPIRES_S


SessionId = Annotated[str, Path(alias="id", max_length=128, description="The session's id, `cs_...`.")]


def service_of(request: Request, here: Here) -> ConnectService:
    """Return Connect of this process, put together with its first use."""
    state = request.app.state
    if not hasattr(state, "connect"):
        state.connect = ConnectService(here)
    found: ConnectService = state.connect
    return found


Service = Annotated[ConnectService, Depends(service_of)]


@router.post(
    "/v1/connect/sessions",
    tags=["connect"],
    **describes(
        "open_connect_session",
        "Open a Connect session",
        "OpenedConnectSession",
        *(400, 404, 409, 413, 415),
        only=201,
    ),
    openapi_extra=body_of("ConnectSessionFields"),
)
async def open_session(
    request: Request, here: Here, caller: Connects, connect: Service, _key: IdempotencyKey = None
) -> Response:
    """The customer's browser is sent to `url`, and comes back to `return_url` with what became of it."""
    wanted = Wanted(**as_model(SessionFields, await json_object(request)).model_dump())

    async def work() -> tuple[int, dict[str, Any]]:
        labels = dict(caller.labels)
        try:
            await here.read(lambda: connect.opener.precheck(wanted, require_labels=labels))
            found = await connect.found(wanted, caller)
            session = await here.write(
                lambda: connect.opener.open(wanted, actor=caller.name, require_labels=labels, found=found)
            )
        except RowRefused as refused:
            raise row_refused(refused) from None
        except AccountHidden:
            raise no_such_account() from None
        opened = {"id": session.id, "url": connect.flow.url_of(session), "expires_at": session.expires_at}
        return HTTPStatus.CREATED, opened

    return await once(here, caller, request, work)


@router.get(
    "/v1/connect/sessions/{id}",
    tags=["connect"],
    **describes("get_connect_session", "Get a Connect session", "ConnectSession", 404),
)
async def show_session(
    session_id: SessionId, here: Here, caller: Connects, connect: Service
) -> dict[str, Any]:
    """What became of it. The query that a browser brings to `return_url` is a hint; this is what happened."""
    is_one = _SESSION_ID.fullmatch(session_id) is not None
    session = await here.read(lambda: connect.sessions.find(session_id)) if is_one else None
    if session is None or not caller.sees(session.label_set):
        raise Problem(Kind.NOT_FOUND, "no session has this id; it is kept for seven days after its end")
    return _shown(session)


@router.get("/connect/style.css", include_in_schema=False)
def stylesheet(connect: Service) -> Response:
    """Return the stylesheet of the pages."""
    return Response(
        connect.flow.stylesheet(), media_type="text/css", headers={**HEADERS, "cache-control": _KEPT}
    )


@router.get("/connect/callback", include_in_schema=False)
async def callback(request: Request, connect: Service, _: WithinLimits) -> Response:
    """Take what a provider's redirect brings."""
    return _answer(
        connect, await connect.flow.back(request.query_params.multi_items(), _keys(request, connect))
    )


@router.get("/connect/client.json", include_in_schema=False)
def client_document(connect: Service) -> Response:
    """Return the document whose URL is this installation's client id at servers that read such documents."""
    found = document(connect.url, name=connect.client_name)
    return JSONResponse(found, headers={"cache-control": _DOCUMENT_KEPT})


@router.get("/connect/{session_id}", include_in_schema=False)
def page(session_id: str, request: Request, connect: Service, _: WithinLimits) -> Response:
    """Show a session's page."""
    return _answer(connect, connect.flow.open(session_id, _keys(request, connect)), session_id)


@router.post("/connect/{session_id}", include_in_schema=False)
async def begin(session_id: str, request: Request, connect: Service, _: WithinLimits) -> Response:
    """Send the browser to the provider."""
    from_our_page = request.headers.get("sec-fetch-site") not in _NO_SITE
    found = await connect.flow.begin(session_id, _keys(request, connect), from_our_page=from_our_page)
    return _answer(connect, found, session_id)


@router.get("/connect/{session_id}/finish", include_in_schema=False)
def finish(session_id: str, request: Request, connect: Service, _: WithinLimits) -> Response:
    """Send the browser back to the platform, or have it wait."""
    return _answer(connect, connect.flow.finish(session_id, _keys(request, connect)))


async def too_many_pages(request: Request, error: Any) -> Response:
    """Answer a browser whose address has used up its requests."""
    refused: TooManyPages = error
    return page_of(request, service_of(request, await context_of(request)), refused)


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


def _shown(session: ConnectSession) -> dict[str, Any]:
    return {name: getattr(session, name) for name in _SHOWN} | {
        "labels": session.label_set,
        "ended_at": session.ends_at if session.has_ended else None,
    }


_SHOWN: Final = (
    *(
        "id",
        "account",
        "provider",
        "client",
        "return_url",
        "status",
        "reason",
        "detail",
        "outcome",
        "generation",
    ),
    *("created_at", "expires_at"),
)
