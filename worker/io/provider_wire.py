"""The connection to providers: one aiohttp session under httpx, and what its errors mean.

httpx-aiohttp 0.2 names most of aiohttp's errors wrongly (a reset connection becomes a ConnectTimeout), so
aiohttp's own errors are read. aiohttp keeps cookies and sends a GET again by itself: both are turned off.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from types import TracebackType
from typing import Any, Final

import aiohttp
import httpx
from aiohappyeyeballs import AddrInfoType
from httpx_aiohttp import AiohttpTransport
from multidict import CIMultiDict

from models.answer import Fault
from worker.io.egress import DIRECT, PrivateAddress, Route, public_socket, refused
from worker.io.provider_content import Oversized

#: More than the 400 calls that one worker process has in flight; budgets keep providers apart, not the pool.
POOL_SIZE: Final = 1024
#: Shorter than the 5 s after which Node, Apache and uvicorn close an idle connection: a request that meets a
#: connection being closed is lost, and nobody can tell whether its refresh token was spent.
KEEPALIVE_S: Final = 4.0


#: An event loop that notices a deadline later than this was not running.
_PUNCTUAL_S: Final = 0.1
#: Long enough to read what has arrived, short beside the time that a claim outlives its call.
_READ_WHAT_CAME_S: Final = 1.0

#: In OpenSSL's names of the alerts by which a server refuses a client's certificate (RFC 8446 section 6.2).
_REFUSALS: Final = ("CERTIFICATE", "UNKNOWN_CA", "ACCESS_DENIED", "DECRYPT_ERROR")


class NotSent(Exception):
    """The deadline was over when the connection stood ready: nothing was sent."""


class SentAlready(Exception):
    """A request is not sent twice: its refresh token may be spent."""


@dataclass(slots=True)
class Sending:
    """The moment before the first byte: the last look at the deadline, and the note that it was passed."""

    deadline: float
    clock: Callable[[], float]
    on_send: Callable[[], None] | None = None
    #: The client's certificate, where the provider wants one.
    tls: ssl.SSLContext | None = None
    route: Route = DIRECT
    #: A private address that this call was kept from.
    refused: str | None = None
    sent: bool = False

    @property
    def over(self) -> bool:
        return self.clock() >= self.deadline

    def begin(self) -> None:
        """Pass, once, or raise.

        Raises:
            NotSent: the deadline is over.
            SentAlready: this request passed before.
        """
        if self.sent:
            raise SentAlready
        if self.over:
            raise NotSent
        if self.on_send is not None:
            self.on_send()
        self.sent = True


#: The call that the running task is making.
SENDING: Final[ContextVar[Sending]] = ContextVar("refreshd_sending")


class _Request(aiohttp.ClientRequest):
    """A request that looks at the deadline when its connection stands, right before its first byte.

    It brings its account's certificate along: aiohttp keeps connections of different contexts apart.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        sending = SENDING.get()
        if sending.tls is not None:
            options["ssl"] = sending.tls
        if sending.route.proxy is not None:
            proxy = sending.route.proxy
            options |= {"proxy": proxy.with_user(None), "proxy_auth": aiohttp.BasicAuth.from_url(proxy)}
        super().__init__(*args, **options)

    async def send(self, conn: aiohttp.connector.Connection) -> aiohttp.ClientResponse:
        SENDING.get().begin()
        return await super().send(conn)


class AnnouncedTransport(httpx.AsyncBaseTransport):
    """Another transport, which passes the moment before sending as well."""

    def __init__(self, transport: httpx.AsyncBaseTransport) -> None:
        self._transport = transport

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        SENDING.get().begin()
        return await self._transport.handle_async_request(request)

    async def aclose(self) -> None:
        await self._transport.aclose()


class _Body(httpx.AsyncByteStream):
    """The body of a response, as it arrives."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._response.content.iter_any().__aiter__()

    async def aclose(self) -> None:
        """Give the connection back, or close it where the response was not read to its end."""
        await self._response.__aexit__(None, None, None)


class Transport(AiohttpTransport):
    """httpx-aiohttp's transport, with a shorter way from httpx' request to aiohttp's and back.

    Mapping errors (which we read from the cause anyway), wrapping the body in a generator and making a new
    `ClientTimeout` a call were a tenth of a call's CPU. aiohttp's errors come out as they are.
    """

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if not isinstance(self.client, aiohttp.ClientSession):
            self.client = self.get_client()
        response = await self.client.request(
            request.method,
            str(request.url),
            headers=CIMultiDict(
                [(name.decode("ascii"), value.decode("latin-1")) for name, value in request.headers.raw]
            ),
            data=request.content or None,
            allow_redirects=False,
            timeout=_timeout(request.extensions.get("timeout", {}).get("connect")),
        )
        return httpx.Response(
            response.status, headers=response.raw_headers, stream=_Body(response), request=request
        )


@lru_cache(maxsize=16)
def _timeout(connect_s: float | None) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(sock_connect=connect_s)


class until:  # noqa: N801  (a word of the language, where it is used)
    """Ends what runs in the block when the event loop's time is `deadline`, as `asyncio.timeout_at` does.

    A process that was stopped, or busy, finds its time over and answers waiting in its sockets: those are read
    first. They hold the only copy of a new refresh token.

    Raises:
        TimeoutError: the time is over.
    """

    __slots__ = ("_deadline", "_limit", "_loop", "_timer")

    def __init__(self, deadline: float) -> None:
        self._deadline = deadline
        self._loop = asyncio.get_running_loop()
        self._limit = asyncio.timeout(None)

    async def __aenter__(self) -> None:
        await self._limit.__aenter__()
        self._timer = self._loop.call_at(self._deadline, self._over)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        await self._limit.__aexit__(kind, error, trace)

    def _over(self) -> None:
        is_late = self._loop.time() - self._deadline > _PUNCTUAL_S
        self._limit.reschedule(self._loop.time() + (_READ_WHAT_CAME_S if is_late else 0))


def open_transport(context: ssl.SSLContext) -> Transport:
    """Make the transport; its session begins with the first request, on that request's event loop."""

    def session() -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=POOL_SIZE, keepalive_timeout=KEEPALIVE_S, ssl=context, socket_factory=_socket
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            request_class=_Request,
            skip_auto_headers=("User-Agent",),
            auto_decompress=False,
        )

    return Transport(verify=context, client=session)


def _socket(address: AddrInfoType) -> socket.socket:
    """Make the socket that connects to this address, where the running call may."""
    sending = SENDING.get()
    if not sending.route.is_public_only:
        return socket.socket(*address[:3])
    try:
        return public_socket(address)
    except PrivateAddress as error:
        sending.refused = str(error)
        raise


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
    cause = error if isinstance(error, aiohttp.ClientError) else error.__cause__ or error
    if _refuses_client_certificate(cause):
        return Fault.CLIENT_CERTIFICATE, _words(cause)
    if sent:
        return Fault.BROKEN, _words(cause)
    if isinstance(cause, aiohttp.ClientConnectorDNSError):
        return Fault.DNS, _words(cause)
    if isinstance(cause, aiohttp.ClientSSLError | ssl.SSLError):
        return Fault.TLS, _words(cause)
    if isinstance(error, httpx.InvalidURL | httpx.UnsupportedProtocol | ValueError):
        return Fault.UNBUILDABLE, _words(cause)
    return Fault.CONNECT, _words(cause)


def _refuses_client_certificate(cause: BaseException) -> bool:
    tls = _tls_error(cause)
    word = "" if tls is None else _tls_word(tls)
    return "ALERT" in word and any(sign in word for sign in _REFUSALS)


def _tls_error(cause: BaseException) -> ssl.SSLError | None:
    """Find OpenSSL's own error: aiohttp's are SSLErrors too, and hold it."""
    for inner in (
        getattr(cause, "certificate_error", None),
        getattr(cause, "os_error", None),
        cause,
        cause.__cause__,
    ):
        if isinstance(inner, ssl.SSLError) and not isinstance(inner, aiohttp.ClientError):
            return inner
    return None


def _tls_word(tls: ssl.SSLError) -> str:
    return getattr(tls, "verify_message", None) or getattr(tls, "reason", None) or type(tls).__name__


def _words(cause: BaseException) -> str:
    """Name the error by its kind and the system's own word for it: its message may hold the URL."""
    tls = _tls_error(cause)
    if tls is not None:
        return _tls_word(tls)
    text = getattr(getattr(cause, "os_error", cause), "strerror", None)
    return f"{type(cause).__name__}: {text}" if isinstance(text, str) else type(cause).__name__
