"""A worker's part before the consent: an address becomes a client of its authorization server, and what is asked is pushed there.

The process that faces the web has no secret and calls nobody: what needs either is done here.
"""

from __future__ import annotations

import asyncio
from threading import BoundedSemaphore
from typing import Final

from pydantic import BaseModel, ConfigDict, Field

from models.answer import Answer
from models.refresh_request import RefreshRequest
from models.tables.connect_session import ConnectStatus
from worker.accounts.clients.editor import UnknownClient
from worker.accounts.entry import Problem, RowRefused
from worker.connect import reasons
from worker.connect.asked import NotConnected, asked_of
from worker.db.intake.connect_sessions import ConnectSessions
from worker.intake.carry_out import Desk, NotFound, WorkerTools, handles, payload_of
from worker.intake.issuer_metadata import Undiscovered
from worker.intake.provider_slots import ProviderBusy, provider_slots
from worker.intake.requests import RETRY_AFTER_S, Code, IntakeRequest, Op, Reply
from worker.intake.resources import Address, Redirect, prepare
from worker.policy.verdicts.verdict import judge
from worker.providers.authorization import pushed_page, pushed_request
from worker.providers.request.draft import InvalidRequest

#: Of the words of a provider so many are kept.
DETAIL_MAX: Final = 500
#: Addresses that one process looks up at a time. A customer names them, and each may take half a minute: the other threads that
#: wait for providers go on.
LOOKUPS_MAX: Final = 2
#: Most addresses are looked up within a second.
LOOKUP_AGAIN_S: Final = 5.0
_lookups: Final = BoundedSemaphore(LOOKUPS_MAX)


class AddressPayload(BaseModel):
    """What leads to an authorization server, and where consents come back to."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    resource: str | None = None
    issuer: str | None = None
    client: str | None = None
    #: Where browsers and servers reach the API.
    base_url: str
    #: What people see on consent pages.
    name: str


class PushPayload(BaseModel):
    """A session, and the consent page with the values of its browser's question."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    session: str
    page: str = Field(repr=False)


@handles(Op.PREPARE_CONNECT, asks_provider=True)
def prepare_connect(desk: Desk, request: IntakeRequest) -> Reply:
    """Find the authorization server of a resource or an issuer, and a client for it; one is registered where there is none."""
    if not _lookups.acquire(blocking=False):
        return Reply(
            code=Code.UNAVAILABLE,
            detail="as many addresses as are looked up at a time are being looked up: ask again later",
            result={RETRY_AFTER_S: LOOKUP_AGAIN_S},
        )
    try:
        return _prepared(desk, request)
    finally:
        _lookups.release()


def _prepared(desk: Desk, request: IntakeRequest) -> Reply:
    payload = payload_of(request, AddressPayload)
    field = "issuer" if payload.resource is None else "resource"
    address = Address(payload.resource or payload.issuer or "", is_issuer=payload.resource is None)
    redirect = Redirect.to_api(payload.base_url, payload.name)
    try:
        found = prepare(desk.services, address, client=payload.client, redirect=redirect)
    except UnknownClient as unknown:
        raise RowRefused([Problem("client", str(unknown))]) from None
    except Undiscovered as failed:
        raise RowRefused([Problem(field, str(failed), code=failed.reason)]) from None
    result = {
        "client": found.client,
        "issuer": found.issuer,
        "resource": found.resource,
        "scopes": list(found.scopes),
    }
    return Reply(code=Code.DONE, result=result)


@handles(Op.PUSH_CONSENT, asks_provider=True)
def push_consent(desk: Desk, request: IntakeRequest) -> Reply:
    """Push what a session's consent is asked with (RFC 9126); the result is the page's URL, or a reason."""
    payload = payload_of(request, PushPayload)
    stores = desk.tools.stores
    sessions = ConnectSessions(stores.engine, exchange_s=stores.settings.claim_seconds)
    session = sessions.find(payload.session)
    if session is None or session.status != ConnectStatus.STARTED:
        raise NotFound("there is no such session that has begun")
    try:
        asked = asked_of(desk, sessions, session).request
        url = _pushed(desk, asked, payload.page)
    except NotConnected as failed:
        detail = None if failed.detail is None else failed.detail[:DETAIL_MAX]
        return Reply(code=Code.DONE, result={"reason": str(failed.reason), "detail": detail})
    return Reply(code=Code.DONE, result={"url": url})


def _pushed(desk: Desk, asked: RefreshRequest, page: str) -> str:
    try:
        pushing = pushed_request(asked, page, now=desk.tools.stores.clock.now())
    except InvalidRequest as error:
        raise NotConnected(reasons.MISCONFIGURED, str(error)) from None
    answer = called(desk.tools, pushing)
    if answer.token is None:
        judged = judge(answer, asked.provider.error_rules)
        words = ": ".join(filter(None, (answer.error or judged.reason, answer.error_description)))
        raise NotConnected(reasons.reason_of_push(answer.error, judged.verdict), words)
    return pushed_page(page, asked.client_id or "", answer.token.access_token.reveal())


def called(tools: WorkerTools, request: RefreshRequest) -> Answer:
    """Make one call, on the worker's event loop.

    Raises:
        NotConnected: the provider is slow to answer others.
    """

    async def call() -> Answer:
        deadline = asyncio.get_running_loop().time() + tools.stores.settings.call_timeout_s
        return await tools.client.call(request, deadline=deadline)

    try:
        with provider_slots.slot(request):
            return tools.run(call())
    except ProviderBusy as busy:
        raise NotConnected(reasons.PROVIDER_UNAVAILABLE, str(busy)) from None
