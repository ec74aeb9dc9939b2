"""One call on the wire: its deadline, and what a transport's errors mean."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Mapping
from types import TracebackType
from typing import Final, cast

import httpx

from models.answer import Fault
from worker.providers.deadlines import Deadlines
from worker.providers.egress import refused
from worker.providers.http1.connection import ProxyRefused
from worker.providers.http1.parser import BrokeHTTP, CutShort
from worker.providers.response.content import Oversized
from worker.providers.sending import SENDING, NotSent, Sending
from worker.providers.wire import Target, WireResponse

#: An event loop that notices a deadline later than this was not running.
_PUNCTUAL_S: Final = 0.1
#: Long enough to read what has arrived, short beside the time that a claim outlives its call.
_READ_WHAT_CAME_S: Final = 1.0

#: In OpenSSL's names of the alerts by which a server refuses a client's certificate (RFC 8446 section 6.2).
_REFUSALS: Final = ("CERTIFICATE", "UNKNOWN_CA", "ACCESS_DENIED", "DECRYPT_ERROR")


class AnnouncedTransport(httpx.AsyncBaseTransport):
    """Another transport, which passes the moment before sending as well."""

    def __init__(self, transport: httpx.AsyncBaseTransport) -> None:
        self._transport = transport

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        SENDING.get().begin()
        return await self._transport.handle_async_request(request)

    async def send(
        self,
        method: str,
        target: Target,
        headers: Mapping[str, str],
        content: bytes,
        *,
        sending: Sending,
        connect_s: float,
    ) -> WireResponse:
        """Send a request as `worker.providers.http1.transport.Transport.send` does."""
        timeout = {"timeout": {"connect": connect_s}}
        request = httpx.Request(method, target.url, headers=headers, content=content, extensions=timeout)
        sending.begin()
        response = await self._transport.handle_async_request(request)
        stream = cast("httpx.AsyncByteStream", response.stream)
        return WireResponse(response.status_code, response.headers.raw, stream, target.host)

    async def aclose(self) -> None:
        await self._transport.aclose()


class until:  # noqa: N801  (a word of the language, where it is used)
    """Ends what runs in the block when the event loop's time is `deadline`, as `asyncio.timeout_at` does.

    A process that was stopped, or busy, finds its time over and answers waiting in its sockets: those are read
    first. They hold the only copy of a new refresh token.

    Raises:
        TimeoutError: the time is over.
    """

    __slots__ = ("_deadline", "_deadlines", "_limit", "_loop", "_over")

    def __init__(self, deadline: float) -> None:
        self._deadline = deadline
        self._loop = asyncio.get_running_loop()
        self._deadlines = Deadlines.of_loop()
        self._over = self._end  # one object, by which it is found again
        self._limit = asyncio.timeout(None)

    async def __aenter__(self) -> None:
        await self._limit.__aenter__()
        self._deadlines.add(self._over, self._deadline)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._deadlines.remove(self._over)
        await self._limit.__aexit__(kind, error, trace)

    def _end(self) -> None:
        is_late = self._loop.time() - self._deadline > _PUNCTUAL_S
        self._limit.reschedule(self._loop.time() + (_READ_WHAT_CAME_S if is_late else 0))


def fault_of(error: BaseException, sending: Sending) -> tuple[Fault, str]:
    """Read a transport's error: what kept the call from an answer, and in words that hold no secret."""
    sent = sending.sent
    if sending.refused is not None and not sent:
        return refused(sending.refused)
    if isinstance(error, NotSent):
        return Fault.NOT_SENT, "the deadline was over"
    if isinstance(error, Oversized):
        return Fault.TOO_LARGE, "more than 1 MiB"
    if isinstance(error, TimeoutError):
        return (Fault.TIMEOUT, "no answer in time") if sent else (Fault.CONNECT, "no connection in time")
    if isinstance(error, BrokeHTTP):
        return Fault.BROKE_HTTP, f"the answer broke HTTP: {error}"
    if _refuses_client_certificate(error):
        return Fault.CLIENT_CERTIFICATE, _words(error)
    return (Fault.BROKEN if sent else _fault_before_sending(error)), _words(error)


def _fault_before_sending(error: BaseException) -> Fault:
    if isinstance(error, socket.gaierror):
        return Fault.DNS
    if isinstance(error, ssl.SSLError):
        return Fault.TLS
    if isinstance(error, httpx.InvalidURL | httpx.UnsupportedProtocol | ValueError):
        return Fault.UNBUILDABLE
    return Fault.CONNECT


def _refuses_client_certificate(error: BaseException) -> bool:
    word = _tls_word(error) if isinstance(error, ssl.SSLError) else ""
    return "ALERT" in word and any(sign in word for sign in _REFUSALS)


def _tls_word(tls: ssl.SSLError) -> str:
    return getattr(tls, "verify_message", None) or getattr(tls, "reason", None) or type(tls).__name__


def _words(error: BaseException) -> str:
    """Return the error's kind and the system's own word for it: its message may hold the URL."""
    if isinstance(error, ssl.SSLError):
        return _tls_word(error)
    if isinstance(error, CutShort):
        return str(error)
    text = getattr(error, "strerror", None)
    if isinstance(error, ProxyRefused):
        return str(text)
    return f"{type(error).__name__}: {text}" if isinstance(text, str) else type(error).__name__
