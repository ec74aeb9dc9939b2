"""Connections to providers: opened (name, address, proxy, TLS), asked one request at a time, kept for the next."""

from __future__ import annotations

import asyncio
import ctypes
import re
import select
import socket
import ssl
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from typing import Final, TypeVar

import httpx
from aiohappyeyeballs import AddrInfoType, start_connection
from msgspec import Struct

from worker.providers.http1.parser import BrokeHTTP, CutShort, Head, ResponseParser
from worker.providers.http1.resolver import Resolver

#: RFC 8305 section 5: how long an address is given before the next one is tried beside it.
HAPPY_EYEBALLS_DELAY_S: Final = 0.25
#: The longest answer to CONNECT that is read.
_TUNNEL_HEAD_MAX: Final = 64 * 1024
_SUCCESSES: Final = range(200, 300)
_STATUS: Final = re.compile(rb"HTTP/\d(?:\.\d)?[ \t]+(\d{3})")
_PORTS: Final = {"http": 80, "https": 443}


class _PollFD(ctypes.Structure):
    """The kernel's `struct pollfd` (poll(2))."""

    _fields_ = (("fd", ctypes.c_int), ("events", ctypes.c_short), ("revents", ctypes.c_short))


#: `poll` of libc, which with no time to wait returns at once. `select.poll` lets go of the interpreter's lock for it, and
#: before each request the event loop would wait until another thread gives that back (docs/decisions/0044).
_poll: Final = ctypes.PyDLL(None).poll
_poll.argtypes = (ctypes.c_void_p, ctypes.c_ulong, ctypes.c_int)

P = TypeVar("P", bound=asyncio.Protocol)


class ProxyRefused(OSError):
    """The proxy did not open a tunnel."""


class Peer(Struct, frozen=True):
    """What a connection leads to; two calls share one only where all of this is the same."""

    host: str
    port: int
    #: None: plain http.
    tls: ssl.SSLContext | None
    proxy: httpx.URL | None
    #: The address was judged when the connection was made; one made without judging is none for a call that needs it.
    is_public_only: bool = False


class Connection(asyncio.Protocol):
    """One connection. It is asked once at a time, and nothing is ever sent on it twice."""

    def __init__(self, peer: Peer, loop: asyncio.AbstractEventLoop) -> None:
        self.peer = peer
        self.idle_since = 0.0
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._parser: ResponseParser | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._error: Exception | None = None
        self._polled: _PollFD | None = None

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        if self._parser is None or self._error is not None:
            self.close()  # nothing was asked: what it says belongs to no request
            return
        try:
            self._parser.feed(data)
        except BrokeHTTP as error:
            self._error = error
        self._wake()

    def eof_received(self) -> bool:
        self._ended(None)
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self._ended(error)

    # the call's side

    async def ask(self, request: bytes) -> Head:
        """Send a request and return the head of its answer.

        Raises:
            BrokeHTTP: the answer can't be read.
            OSError: the connection ended before the head did.
        """
        parser = self._parser = ResponseParser()
        if self._transport is None or self._error is not None:
            raise self._error or ConnectionResetError()
        self._transport.write(request)
        while parser.head is None:
            await self._more()
        return parser.head

    async def body(self) -> AsyncIterator[bytes]:
        """Return the body as it arrives.

        Raises:
            BrokeHTTP: its chunks can't be followed.
            OSError: the connection ended before it did.
        """
        parser = self._parser
        assert parser is not None  # noqa: S101  (a body is read of a request that was asked)
        while True:
            piece = parser.take()
            if piece:
                yield piece
            elif parser.complete:
                return
            else:
                await self._more()

    def whole(self) -> bytes | None:
        """Return the body where all of it is there already; None where some is still to come."""
        parser = self._parser
        return parser.take() if parser is not None and parser.complete else None

    @property
    def is_complete(self) -> bool:
        return self._parser is not None and self._parser.complete

    @property
    def surplus(self) -> bytes:
        return b"" if self._parser is None else self._parser.surplus

    def rest(self) -> bool:
        """End a request; return whether the connection is fit for another one."""
        parser, self._parser = self._parser, None
        return parser is not None and parser.complete and parser.is_reusable and self.is_open

    @property
    def is_open(self) -> bool:
        return self._error is None and self._transport is not None and not self._transport.is_closing()

    @property
    def is_silent(self) -> bool:
        """Whether nothing waits in its socket, such as an end that the event loop has not seen yet: a system call."""
        if self._polled is None:
            assert self._transport is not None  # noqa: S101  (it was asked before)
            self._polled = _PollFD(self._transport.get_extra_info("socket").fileno(), select.POLLIN)
        return not _poll(ctypes.byref(self._polled), 1, 0)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    async def _more(self) -> None:
        if self._error is not None:
            raise self._error
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _ended(self, error: Exception | None) -> None:
        if self._error is not None:
            return
        parser = self._parser
        if parser is None or (error is not None and not parser.complete):
            self._error = error or CutShort("the server closed the connection")
        else:
            try:
                parser.end()
                self._error = CutShort("the server closed the connection")
            except CutShort as cut:
                self._error = cut
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class _Tunnel(asyncio.Protocol):
    """Waits for a proxy's answer to CONNECT (RFC 9110 section 9.3.6)."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.transport: asyncio.Transport | None = None
        self.answered: asyncio.Future[None] = loop.create_future()
        self._seen = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        self._seen += data
        if b"\n\r\n" not in self._seen and b"\n\n" not in self._seen and len(self._seen) < _TUNNEL_HEAD_MAX:
            return
        status = _STATUS.match(self._seen)
        if status is not None and int(status[1]) in _SUCCESSES:
            self._settle(None)
        else:
            code = "what is no HTTP" if status is None else f"HTTP {int(status[1])}"
            self._settle(ProxyRefused(None, f"the proxy answered {code}"))

    def connection_lost(self, error: Exception | None) -> None:
        self._settle(error or ProxyRefused(None, "the proxy closed the connection"))

    def _settle(self, error: Exception | None) -> None:
        if self.answered.done():
            return
        if error is None:
            self.answered.set_result(None)
        else:
            self.answered.set_exception(error)


async def connect(
    peer: Peer,
    resolver: Resolver,
    socket_factory: Callable[[AddrInfoType], socket.socket],
    trust: ssl.SSLContext,
) -> Connection:
    """Open a connection: to the peer, or through a tunnel of its proxy.

    Args:
        peer: where to.
        resolver: gives the addresses.
        socket_factory: makes the socket for an address, or refuses it by an OSError.
        trust: verifies a proxy that is itself asked by https.

    Raises:
        OSError: it can't be opened (`socket.gaierror`, `ssl.SSLError`, `ProxyRefused` among them).
    """
    loop = asyncio.get_running_loop()
    proxy = peer.proxy
    if proxy is None:
        made = await _socket(resolver, peer.host, peer.port, socket_factory)
        return await _over(made, loop, lambda: Connection(peer, loop), peer.tls, peer.host)
    made = await _socket(resolver, proxy.host, proxy.port or _PORTS[proxy.scheme], socket_factory)
    proxy_tls = trust if proxy.scheme == "https" else None
    if peer.tls is None:
        return await _over(made, loop, lambda: Connection(peer, loop), proxy_tls, proxy.host)
    tunnel = await _over(made, loop, lambda: _Tunnel(loop), proxy_tls, proxy.host)
    assert tunnel.transport is not None  # noqa: S101  (the connection stands)
    try:
        return await _through(tunnel.transport, tunnel, peer, proxy, peer.tls)
    except BaseException:
        tunnel.transport.abort()
        raise


async def _through(
    transport: asyncio.Transport, tunnel: _Tunnel, peer: Peer, proxy: httpx.URL, tls: ssl.SSLContext
) -> Connection:
    loop = asyncio.get_running_loop()
    host = f"[{peer.host}]" if ":" in peer.host else peer.host
    lines = [f"CONNECT {host}:{peer.port} HTTP/1.1", f"Host: {host}:{peer.port}"]
    if authorization := proxy_authorization(proxy):
        lines.append(f"Proxy-Authorization: {authorization}")
    transport.write("\r\n".join([*lines, "", ""]).encode("ascii"))
    await tunnel.answered
    connection = Connection(peer, loop)
    encrypted = await loop.start_tls(transport, connection, tls, server_hostname=peer.host)
    if encrypted is None:
        raise ConnectionResetError
    connection.connection_made(encrypted)
    return connection


def proxy_authorization(proxy: httpx.URL) -> str | None:
    """Return the value of Proxy-Authorization for the user and password in a proxy's URL (RFC 7617)."""
    if not proxy.username and not proxy.password:
        return None
    return f"Basic {b64encode(f'{proxy.username}:{proxy.password}'.encode()).decode()}"


async def _socket(
    resolver: Resolver, host: str, port: int, socket_factory: Callable[[AddrInfoType], socket.socket]
) -> socket.socket:
    addresses = await resolver.resolve(host, port)
    return await start_connection(
        addresses,
        happy_eyeballs_delay=HAPPY_EYEBALLS_DELAY_S,
        interleave=1,
        loop=asyncio.get_running_loop(),
        socket_factory=socket_factory,
    )


async def _over(
    made: socket.socket,
    loop: asyncio.AbstractEventLoop,
    protocol: Callable[[], P],
    tls: ssl.SSLContext | None,
    name: str,
) -> P:
    try:
        _, connection = await loop.create_connection(
            protocol, sock=made, ssl=tls, server_hostname=None if tls is None else name
        )
    except BaseException:
        made.close()
        raise
    return connection
