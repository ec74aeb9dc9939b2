"""The HTTP server of the API: uvicorn on uvloop and httptools, and what it must not wait or store for."""

from __future__ import annotations

import asyncio
import resource
import socket
from typing import Any, Final

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from worker.log import log
from worker.settings.api import ApiSettings

#: A request's line and headers; a browser's cookies and a client's key fit four times.
HEADERS_MAX_BYTES: Final = 32 * 1024
#: From a connection's first byte to the end of a request's headers, seconds.
HEADERS_TIMEOUT_S: Final = 15.0
#: Connections that are open at a time, beside those of event clients; more get a 503 at once.
CONNECTIONS_MAX: Final = 2_000
#: Files that are open beside connections: those of stores, code, logs.
_OTHER_FILES: Final = 200
#: A connection that asks nothing is closed after so long.
KEEP_ALIVE_S: Final = 30
#: Answers that are under way at a SIGTERM have so long.
SHUTDOWN_S: Final = 20

_TOO_LARGE: Final = (
    b'{"type":"/docs#problem-headers-too-large","title":"The request\'s headers are too large","status":431,'
    b'"detail":"a request\'s line and headers are at most 32,768 bytes"}'
)
_MALFORMED: Final = (
    b'{"type":"/docs#problem-malformed","title":"The request can\'t be read","status":400,'
    b'"detail":"not a valid HTTP/1.1 request"}'
)


class LimitedProtocol(HttpToolsProtocol):
    """One connection. Headers end soon and are short, or the connection does."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request."""
        super().connection_made(transport)
        self._header_bytes = 0
        self._header_timer: asyncio.TimerHandle | None = None
        self._expect_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._headers_came()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count what comes before the end of the headers."""
        if self._in_headers:
            self._header_bytes += len(data)
            if self._header_timer is None:
                self._expect_headers()
        super().data_received(data)
        if self._in_headers and self._header_bytes > HEADERS_MAX_BYTES and not self.transport.is_closing():
            self._refuse(b"431 Request Header Fields Too Large", _TOO_LARGE)

    def on_message_begin(self) -> None:
        """Begin with a request's headers."""
        self._in_headers = True
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count a header that came in one piece with others."""
        self._parsed_bytes = self._parsed_bytes + len(name) + len(value)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """End with the headers."""
        self._in_headers = False
        self._header_bytes = 0
        self._headers_came()
        parsed, self._parsed_bytes = self._parsed_bytes + len(self.url), 0
        if parsed > HEADERS_MAX_BYTES:
            self._refuse(b"431 Request Header Fields Too Large", _TOO_LARGE)
            return
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a body, unless the request was refused."""
        if not self.transport.is_closing():
            super().on_body(body)

    def on_message_complete(self) -> None:
        """End a request, unless it was refused."""
        if not self.transport.is_closing():
            super().on_message_complete()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  (uvicorn's own words are no problem details)
        """Refuse what is no HTTP."""
        self._refuse(b"400 Bad Request", _MALFORMED)

    _in_headers = True
    _parsed_bytes = 0

    def _expect_headers(self) -> None:
        self._header_timer = self.loop.call_later(HEADERS_TIMEOUT_S, self._too_slow)

    def _headers_came(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None

    def _too_slow(self) -> None:
        self._header_timer = None
        if self._in_headers and not self.transport.is_closing():
            self.transport.close()

    def _refuse(self, status: bytes, body: bytes) -> None:
        self.transport.write(
            b"HTTP/1.1 " + status + b"\r\ncontent-type: application/problem+json\r\nconnection: close\r\n"
            b"content-length: " + str(len(body)).encode() + b"\r\n\r\n" + body
        )
        self.transport.close()


def config_of(app: Any, settings: ApiSettings) -> uvicorn.Config:
    """Return how the application is served."""
    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        http=LimitedProtocol,
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        # The last address that no trusted proxy has is the client's; whoever else sets X-Forwarded-For is not believed.
        proxy_headers=settings.trusted_proxies is not None,
        forwarded_allow_ips=settings.trusted_proxies or "",
        limit_concurrency=CONNECTIONS_MAX + settings.event_clients,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=SHUTDOWN_S,
    )


def listening(host: str, port: int) -> socket.socket:
    """Return the socket that the API listens on.

    Raises:
        OSError: the port is taken, or the address is not this machine's.
    """
    family, _, _, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    return socket.create_server(address[:2], family=family, backlog=2048)


def serve(app: Any, settings: ApiSettings, listener: socket.socket) -> None:
    """Serve until SIGTERM or SIGINT."""
    _allow_files(CONNECTIONS_MAX + settings.event_clients + _OTHER_FILES)
    uvicorn.Server(config_of(app, settings)).run(sockets=[listener])


def _allow_files(wanted: int) -> None:
    """Raise the number of files that this process may have open, as far as it may: each connection is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    may = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < may:
        resource.setrlimit(resource.RLIMIT_NOFILE, (may, hard))
    if may < wanted:
        log.warning(
            "api_few_files", wanted=wanted, allowed=may, remedy="raise the limit of open files (nofile)"
        )
