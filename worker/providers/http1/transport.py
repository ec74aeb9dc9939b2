"""httpx' interface over connections of our own: a pool, one request a connection at a time, nothing sent twice.

Why our own: no client that was tried looks at a deadline when the connection stands, keeps from sending again by itself,
judges the address of each socket, and reads what curl reads
(docs/decisions/0023-http-transport.md).
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
import ssl
from collections import deque
from collections.abc import AsyncIterator, Iterable, Mapping
from functools import lru_cache
from typing import Final

import httpx
from aiohappyeyeballs import AddrInfoType

from worker.providers.egress import PrivateAddress, public_socket
from worker.providers.http1.connection import Connection, Peer, connect, proxy_authorization
from worker.providers.http1.parser import Head
from worker.providers.http1.resolver import Resolver
from worker.providers.sending import SENDING, Sending
from worker.providers.wire import Target, WireResponse

#: More than the 400 calls that one worker process has in flight; budgets keep providers apart, not the pool.
POOL_SIZE: Final = 1024
#: Shorter than the 5 s after which Node, Apache and uvicorn close an idle connection: a request that meets a
#: connection being closed is lost, and whether its refresh token was spent is unknown.
KEEPALIVE_S: Final = 4.0

#: Framing is the transport's: a header that says otherwise would end the request elsewhere.
_OWN_HEADERS: Final = frozenset({"content-length", "transfer-encoding", "connection"})
_DIGITS: Final = re.compile(r"[0-9.]+")


class Transport(httpx.AsyncBaseTransport):
    """Sends requests of one event loop.

    Args:
        context: verifies servers; a call that shows a certificate brings a context of its own (`Sending.tls`).
    """

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        self._resolver = Resolver()
        self._idle: dict[Peer, deque[Connection]] = {}
        self._idle_count = 0
        self._used: set[Connection] = set()
        self._room = asyncio.Semaphore(POOL_SIZE)
        self._sweeper: asyncio.TimerHandle | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request, once, and return the head of its answer; the body comes as it is read.

        Raises:
            NotSent: the deadline was over when the connection stood.
            OSError: there is no connection, or it ended too early.
            BrokeHTTP: the answer can't be read.
        """
        sending, target = SENDING.get(), Target.of(request.url)
        peer = self._peer(target, sending)
        connect_s = request.extensions.get("timeout", {}).get("connect")
        connection, head = await self._ask(peer, _message_of(request, target, peer), sending, connect_s)
        return httpx.Response(
            head.status, headers=head.headers, stream=Body(self, connection), request=request
        )

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
        """Send a request as `handle_async_request` does, past httpx' classes.

        Args:
            method: in capitals.
            target: where to.
            headers: of printable ASCII, without those of the transport (`Host`, framing).
            content: the body.
            sending: the call.
            connect_s: how long a connection may take to stand.
        """
        peer = self._peer(target, sending)
        connection, head = await self._ask(
            peer, _message(method, target, headers.items(), content, peer), sending, connect_s
        )
        return WireResponse(head.status, head.headers, Body(self, connection), target.host)

    async def _ask(
        self, peer: Peer, message: bytes, sending: Sending, connect_s: float | None
    ) -> tuple[Connection, Head]:
        await self._room.acquire()
        connection = None
        try:
            connection = self._take(peer)
            if connection is None:
                async with asyncio.timeout(connect_s):
                    connection = await connect(peer, self._resolver, _Factory(sending), self._context)
            self._used.add(connection)
            sending.begin()
            return connection, await connection.ask(message)
        except BaseException:
            self._room.release()
            if connection is not None:
                self._used.discard(connection)
                connection.close()
            raise

    async def aclose(self) -> None:
        """Close every connection."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        for connection in [*self._used, *(one for idle in self._idle.values() for one in idle)]:
            connection.close()
        self._idle.clear()
        self._used.clear()
        self._idle_count = 0
        await asyncio.sleep(0)  # the event loop closes sockets in its next round

    def release(self, connection: Connection) -> None:
        """Take a connection back: kept where its response was clean and was read to its end, else closed."""
        self._room.release()
        self._used.discard(connection)
        if not connection.rest() or self._idle_count >= POOL_SIZE:
            connection.close()
            return
        loop = asyncio.get_running_loop()
        connection.idle_since = loop.time()
        self._idle.setdefault(connection.peer, deque()).append(connection)
        self._idle_count += 1
        if self._sweeper is None:
            self._sweeper = loop.call_later(KEEPALIVE_S, self._sweep)

    def _peer(self, target: Target, sending: Sending) -> Peer:
        _check_host(target.host)
        return Peer(
            target.host,
            target.port,
            sending.tls or self._context if target.is_tls else None,
            sending.route.proxy,
            sending.route.is_public_only,
        )

    def _take(self, peer: Peer) -> Connection | None:
        """Return the connection that was used last, if there is one on which a request can be sent.

        A request on a connection that the server has closed is lost, and it is unknown whether it was read before: the
        socket is looked at right before each request, and the window that remains is until the bytes leave.
        """
        idle = self._idle.get(peer)
        now = asyncio.get_running_loop().time()
        while idle:
            connection = idle.pop()
            self._idle_count -= 1
            if connection.is_open and now - connection.idle_since < KEEPALIVE_S and connection.is_silent:
                return connection
            connection.close()
        return None

    def _sweep(self) -> None:
        """Close connections whose time is over."""
        loop = asyncio.get_running_loop()
        until = loop.time() - KEEPALIVE_S
        for peer, idle in list(self._idle.items()):
            while idle and (idle[0].idle_since <= until or not idle[0].is_open):
                idle.popleft().close()
                self._idle_count -= 1
            if not idle:
                del self._idle[peer]
        self._sweeper = loop.call_later(KEEPALIVE_S / 2, self._sweep) if self._idle else None


class Body(httpx.AsyncByteStream):
    """The body of a response, as it arrives."""

    def __init__(self, transport: Transport, connection: Connection) -> None:
        self._transport = transport
        self._connection: Connection | None = connection
        #: Bytes behind the end that the response named.
        self.surplus = b""

    def __aiter__(self) -> AsyncIterator[bytes]:
        assert self._connection is not None  # noqa: S101  (a body is read before it is closed)
        return self._connection.body()

    @property
    def is_complete(self) -> bool:
        return self._connection is None or self._connection.is_complete

    def whole(self) -> bytes | None:
        """Return the body where all of it is there already; None where some is still to come."""
        return None if self._connection is None else self._connection.whole()

    async def aclose(self) -> None:
        """Return the connection back, or close it where the response was not read to its end."""
        self.close()

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            self.surplus = connection.surplus
            self._transport.release(connection)


def open_transport(context: ssl.SSLContext) -> Transport:
    """Return the transport of one event loop; it connects with the first request."""
    return Transport(context)


class _Factory:
    """Opens the socket that connects to an address, where the call may."""

    def __init__(self, sending: Sending) -> None:
        self._sending = sending

    def __call__(self, address: AddrInfoType) -> socket.socket:
        if not self._sending.route.is_public_only:
            return socket.socket(*address[:3])
        try:
            return public_socket(address)
        except PrivateAddress as error:
            self._sending.refused = str(error)
            raise


_factory = _Factory


@lru_cache(maxsize=1024)
def _check_host(host: str) -> None:
    """Raise InvalidURL where a host is a number that resolvers read as an address, and no address."""
    if _DIGITS.fullmatch(host):
        try:
            ipaddress.IPv4Address(host)
        except ValueError:
            raise httpx.InvalidURL("the host is a number and no address") from None


def _message_of(request: httpx.Request, target: Target, peer: Peer) -> bytes:
    """Return httpx' request as it is sent."""
    headers = [(name.decode("ascii"), value.decode("latin-1")) for name, value in request.headers.raw]
    return _message(request.method, target, headers, request.content, peer)


def _message(
    method: str, target: Target, headers: Iterable[tuple[str, str]], content: bytes, peer: Peer
) -> bytes:
    """Return a request as it is sent: head and body in one piece.

    Raises:
        ValueError: a header holds a line's end.
    """
    path, host, lines = target.path, target.netloc, list[str]()
    if peer.proxy is not None and peer.tls is None:
        # Plain http through a proxy names the whole URL (RFC 9112 section 3.2.2).
        path = f"http://{target.netloc}{path}"
        if authorization := proxy_authorization(peer.proxy):
            lines.append(f"Proxy-Authorization: {authorization}")
    for name, value in headers:
        lower = name.lower()
        if lower == "host":
            host = value
        elif lower not in _OWN_HEADERS:
            lines.append(f"{name}: {value}")
    if any("\n" in line or "\r" in line for line in (host, *lines)):
        raise ValueError("a header holds a line's end")
    if content or method == "POST":
        lines.append(f"Content-Length: {len(content)}")
    head = "\r\n".join((f"{method} {path} HTTP/1.1", f"Host: {host}", *lines, "", ""))
    return head.encode("latin-1") + content
