"""What stands before every route: limits of bodies and of their time, headers of every answer, one log line a request.

Plain ASGI: a middleware of Starlette's own would cost each request a task.
"""

from __future__ import annotations

import asyncio
import re
import time
import traceback
import uuid
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any, Final

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from worker.api.context import ApiContext
from worker.api.metrics import ApiMetrics
from worker.api.problems import Kind, Problem
from worker.log import log
from worker.settings.api import BATCH_BYTES, BODY_BYTES

_BATCH: Final = "/v1/accounts:batch"
#: Paths whose `{id}` is an account's. That of a Connect session opens its page.
_OF_AN_ACCOUNT: Final = "/v1/accounts/{id}"
#: Status of a request whose client went away before it was answered, as nginx counts it; it is never sent.
_GONE: Final = 499
#: What a client may name its request.
_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._:-]{1,128}")
#: Of every answer. Connect's pages set their own Content-Security-Policy.
_HEADERS: Final = {
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
    b"cache-control": b"no-store",
    b"content-security-policy": b"default-src 'none'; frame-ancestors 'none'",
    b"cross-origin-resource-policy": b"same-origin",
}
#: Requests that are asked again and again, and say nothing.
_QUIET: Final = frozenset({"/healthz", "/readyz", "/metrics"})
_DEFECT: Final = (
    "the API's log has it (api_failed) under the request's id, which this answer's header X-Request-Id names"
)


class Shield:
    """Wraps the application.

    Args:
        app: what is wrapped.
        context: returns what the process stands on.
        metrics: counts requests.
    """

    def __init__(self, app: ASGIApp, *, context: Callable[[], ApiContext], metrics: ApiMetrics) -> None:
        self.app = app
        self.context = context
        self.metrics = metrics
        self._ids: Iterator[bytes] | None = None

    def next_id(self) -> bytes:
        """Return the id of a request that brings none: random for the process, then counted, without asking the kernel each time."""
        if self._ids is None:
            first = uuid.uuid4().int
            self._ids = (b"%032x" % (number % (1 << 128)) for number in count(first))
        return next(self._ids)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        await _Exchange(self, scope, receive, send).run()


class _Exchange:
    """One request, and its answer."""

    def __init__(self, shield: Shield, scope: Scope, receive: Receive, send: Send) -> None:
        self._shield = shield
        self._scope = scope
        self._receive = receive
        self._send = send
        self._most = BATCH_BYTES if scope["path"] == _BATCH else BODY_BYTES
        self._taken = 0
        self._body_ended = False
        self._status = 0
        headers = dict(scope["headers"])
        given = headers.get(b"x-request-id", b"")
        self._request_id = given if _REQUEST_ID.fullmatch(given) else shield.next_id()
        self._length = headers.get(b"content-length", b"0")
        scope.setdefault("state", {})

    async def run(self) -> None:
        began = time.monotonic()
        try:
            self._check_length()
            await self._shield.app(self._scope, self._limited_receive, self._noting_send)
        except Problem as problem:
            await self._end_with(problem)
        except ClientDisconnect:
            self._status = _GONE
        except Exception as error:  # noqa: BLE001  (a server would log its text, which may hold what was sent)
            log.error(
                "api_failed",
                error=type(error).__name__,
                at=place_of(error),
                request_id=self._request_id.decode(),
            )
            await self._end_with(Problem(Kind.DEFECT, _DEFECT))
        finally:
            self._note(time.monotonic() - began)

    async def _end_with(self, problem: Problem) -> None:
        if not self._status:
            await problem.response()(self._scope, self._receive, self._noting_send)

    def _check_length(self) -> None:
        if not self._length.isdigit() or int(self._length[:20]) > self._most:
            raise _too_large(self._most)

    async def _limited_receive(self) -> Message:
        if self._body_ended:  # what comes now is that the client went away, whenever that is
            return await self._receive()
        wait_s = self._shield.context().api.body_timeout_s
        try:
            async with asyncio.timeout(wait_s):
                message = await self._receive()
        except TimeoutError:
            raise Problem(
                Kind.TOO_SLOW,
                f"no byte of the body came for {wait_s:g} s; send it again",
                headers={"Connection": "close"},
            ) from None
        self._taken += len(message.get("body", b""))
        if self._taken > self._most:
            raise _too_large(self._most)
        self._body_ended = not message.get("more_body", False)
        return message

    async def _noting_send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            message = {**message, "headers": self._headers_of(message)}
        await self._send(message)

    def _headers_of(self, message: Message) -> list[tuple[bytes, bytes]]:
        headers: list[tuple[bytes, bytes]] = list(message.get("headers", ()))
        there = {name.lower() for name, _ in headers}
        limits: dict[str, str] = self._scope["state"].get("rate_limit", {})
        more = {
            **_HEADERS,
            b"x-request-id": self._request_id,
            **{name.lower().encode(): value.encode() for name, value in limits.items()},
        }
        return headers + [(name, value) for name, value in more.items() if name not in there]

    def _note(self, took_s: float) -> None:
        route: Any = self._scope.get("route")
        path = getattr(route, "path", None) or "other"
        method = self._scope["method"]
        self._shield.metrics.answered(method, path, self._status, took_s)
        if path in _QUIET:
            return
        # The route's template, not the path: a query or a Connect session's id is not to be known.
        of_account = path.startswith(_OF_AN_ACCOUNT)
        log.info(
            "api_request",
            method=method,
            route=path,
            status=self._status,
            ms=round(took_s * 1000, 1),
            key=self._scope["state"].get("key_name"),
            account=self._scope.get("path_params", {}).get("id") if of_account else None,
            request_id=self._request_id.decode(),
        )


def _too_large(most: int) -> Problem:
    return Problem(
        Kind.TOO_LARGE,
        f"the body of this request is at most {most:,} bytes; POST {_BATCH} takes more rows",
        headers={"Connection": "close"},
    )


def place_of(error: BaseException) -> str:
    """Return where an error was raised: file and line of the innermost frame that is ours."""
    frames = [f"{one.filename}:{one.lineno}" for one in traceback.extract_tb(error.__traceback__)]
    own = [one for one in frames if "site-packages" not in one]
    return (own or frames or [""])[-1]
