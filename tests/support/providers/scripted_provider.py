"""A scripted OAuth provider on loopback: rotates, revokes on reuse, counts, and fails as it is told.

It serves from a thread of its own, so that a test can look at its grants and script what comes next while real
worker processes call it. Everything that it says is said by its answers: nothing of refreshd is in here.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Final, NoReturn, Self

from aiohttp import web

from tests.support.providers.grants import (
    Call,
    Fault,
    Grant,
    access_token,
    parse_refresh_token,
    refresh_token,
)

#: SO_LINGER on, 0 s: closing sends RST instead of FIN.
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)
_GARBAGE: Final = bytes(range(128, 256)) * 4
_RETRY_AFTER_S: Final = 2

#: What a fault says that is an answer by itself, before the refresh token is looked at: status, body, with Retry-After.
_REFUSALS: Final[Mapping[Fault, tuple[int, Mapping[str, str] | None, bool]]] = {
    Fault.UNAVAILABLE: (503, None, False),
    Fault.UNAVAILABLE_FOR_A_WHILE: (503, None, True),
    Fault.RATE_LIMITED: (429, {"error": "rate_limit_exceeded"}, True),
    Fault.INVALID_CLIENT: (401, {"error": "invalid_client"}, False),
    Fault.UNAUTHORIZED: (401, None, False),
    Fault.FORBIDDEN: (403, None, False),
    Fault.FORBIDDEN_FOR_A_WHILE: (403, None, True),
    Fault.REFUSED: (400, {"error": "invalid_grant"}, False),
    Fault.REFUSED_BEHIND_A_FAILURE: (
        500,
        {"error": "server_error", "error_description": "Token refresh failed: 400"},
        False,
    ),
    Fault.REDIRECTED: (302, None, False),
}


class ScriptedProvider:
    """A token endpoint (RFC 6749 section 6) at `token_url`."""

    def __init__(self, *, latency_s: float = 0.3, lifetime_s: float = 3600, delay_s: float = 5.0) -> None:
        self.latency_s = latency_s
        self.lifetime_s = lifetime_s
        #: How long a delayed answer takes: longer than the callers' time-out.
        self.delay_s = delay_s
        #: What Retry-After says.
        self.retry_after_s = _RETRY_AFTER_S
        #: Account -> the lifetime of its tokens, where it is not `lifetime_s`.
        self.lifetimes_s: dict[str, float] = {}
        self.grants: dict[str, Grant] = {}
        #: The client's secret; a call with another one is refused. None: each is taken.
        self.client_secret: str | None = None
        #: What goes wrong with a call, asked at its begin.
        self.script: Callable[[Grant], Fault | None] = lambda _: None
        #: Account -> status, body and headers of each answer to it, before the refresh token is looked at.
        self.answers: dict[str, tuple[int, object, dict[str, str]]] = {}
        #: Told of every call that loses its answer.
        self.on_lost: Callable[[Call], None] = lambda _: None
        #: Told of every use of a spent refresh token.
        self.on_reuse: Callable[[Grant, Call], None] = lambda _grant, _call: None
        #: Cleared, it holds every answer back.
        self.answering = threading.Event()
        self.answering.set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="provider", daemon=True)
        self._unfinished: set[asyncio.Future[web.StreamResponse]] = set()
        self.port = 0

    @property
    def token_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/token"

    def grant(self, accounts: Iterable[str], *, grace_s: float | None = None) -> None:
        """Make grants."""
        for account in accounts:
            self.grants[account] = Grant(account, grace_s)

    @property
    def overlaps(self) -> int:
        return sum(grant.overlaps for grant in self.grants.values())

    @property
    def reuses(self) -> int:
        return sum(grant.reuses for grant in self.grants.values())

    @property
    def refreshes(self) -> int:
        return sum(grant.refreshes for grant in self.grants.values())

    @property
    def under_way(self) -> list[str]:
        """Accounts with a call under way now."""
        return [grant.account for grant in list(self.grants.values()) if grant.under_way]

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.answering.set()
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _start(self) -> None:
        application = web.Application()
        application.router.add_post("/token", self._token)
        self._runner = web.AppRunner(
            application, access_log=None, shutdown_timeout=0.5, handler_cancellation=True
        )
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0, backlog=1024)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def _stop(self) -> None:
        await self._runner.cleanup()
        for answer in list(self._unfinished):
            answer.cancel()
        await asyncio.gather(*self._unfinished, return_exceptions=True)

    async def _token(self, request: web.Request) -> web.StreamResponse:
        form = await request.post()
        try:
            account, serial = parse_refresh_token(str(form.get("refresh_token", "")))
            grant = self.grants[account]
        except (ValueError, KeyError):
            return web.json_response({"error": "invalid_grant"}, status=400)
        if self.client_secret is not None and form.get("client_secret") != self.client_secret:
            return self._refusal(Fault.INVALID_CLIENT)
        peer = request.get_extra_info("peername")
        call = Call(account, serial, peer[1] if peer else 0, time.monotonic(), self.script(grant))
        grant.begin(call)
        if call.fault is Fault.SILENT:
            return await _never(grant)
        # A caller that hangs up ends its call; what the provider began it also finishes.
        answer = asyncio.ensure_future(self._answer(request, grant, call))
        self._unfinished.add(answer)
        answer.add_done_callback(self._unfinished.discard)
        try:
            response = await asyncio.shield(answer)
            call.answered_at = time.monotonic()
            return response
        finally:
            grant.end()

    async def _answer(self, request: web.Request, grant: Grant, call: Call) -> web.StreamResponse:
        """Half of the time goes by before the token is exchanged, half after it."""
        await asyncio.sleep(self.latency_s / 2)
        if grant.account in self.answers:
            status, body, headers = self.answers[grant.account]
            return web.json_response(body, status=status, headers=headers)
        if call.fault is not None and call.fault in _REFUSALS:
            return self._refusal(call.fault)
        if call.fault is Fault.RESET:
            return _reset(request)
        reuses = grant.reuses
        serial = grant.exchange(call)
        if grant.reuses > reuses:
            self.on_reuse(grant, call)
        if serial is None:
            return web.json_response({"error": "invalid_grant"}, status=400)
        if call.fault is not None:
            self.on_lost(call)
        await asyncio.sleep(self.latency_s / 2)
        await self._held_back()
        match call.fault:
            case Fault.ANSWER_DROPPED:
                return _reset(request)
            case Fault.GARBAGE:
                return web.Response(body=_GARBAGE, content_type="application/json")
            case Fault.DELAYED:
                await asyncio.sleep(self.delay_s)
        return web.json_response(
            {
                "access_token": access_token(grant.account, serial),
                "refresh_token": refresh_token(grant.account, serial),
                "token_type": "Bearer",
                "expires_in": self.lifetimes_s.get(grant.account, self.lifetime_s),
            },
            headers={"Cache-Control": "no-store"},
        )

    def _refusal(self, fault: Fault) -> web.Response:
        status, body, asks_for_time = _REFUSALS[fault]
        headers = {"Retry-After": str(self.retry_after_s)} if asks_for_time else {}
        if fault is Fault.REDIRECTED:
            headers["Location"] = "/login"
        if body is None:
            return web.Response(status=status, text="upstream connect error", headers=headers)
        return web.json_response(dict(body), status=status, headers=headers)

    async def _held_back(self) -> None:
        while not self.answering.is_set():
            await asyncio.sleep(0.01)


async def _never(grant: Grant) -> NoReturn:
    """Say nothing until the caller hangs up."""
    try:
        await asyncio.Event().wait()
    finally:
        grant.end()
    raise AssertionError("nothing ends the wait but its cancellation")


def _reset(request: web.Request) -> web.Response:
    transport = request.transport
    if transport is not None:
        connection: socket.socket = transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        transport.abort()
    return web.Response()
