"""A token endpoint as cheap as Python makes one: it must never be what the benchmark measures.

    python -m benchmarks.provider --latency-ms 200

prints its address and serves until SIGTERM. `POST /token` answers a refresh (RFC 6749 section 6, parameters in
the body or in the URL's query) after the latency; each answer rotates the refresh token, and a token that was
used before is refused with `invalid_grant`. `GET /tally` tells what it saw.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import signal
import ssl
import sys
import time
from typing import Final, cast

#: What most providers grant, and longer than any run.
LIFETIME_S: Final = 3600
#: As long as a small JWT, so that sealing and publishing handle what they handle in earnest.
ACCESS_TOKEN_LENGTH: Final = 600

_REFRESH_TOKEN: Final = re.compile(rb"(?:^|[?&\s])refresh_token=([A-Za-z0-9_-]+)\.(\d+)(?=[&\s]|$)")
_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_INVALID_GRANT: Final = b'{"error":"invalid_grant"}'


def refresh_token(account: str, serial: int = 0) -> str:
    """Return the refresh token that an account has after `serial` refreshes."""
    return f"{account}.{serial}"


class Grants:
    """Which refresh token of each account is next, and everything a provider would object to."""

    def __init__(self) -> None:
        self.requests = 0
        self.answered = 0
        self.overlaps = 0
        self.reuses = 0
        self.last_answer_at = 0.0
        self._next: dict[bytes, int] = {}
        self._under_way: set[bytes] = set()
        self._padding = "x" * ACCESS_TOKEN_LENGTH

    def take(self, account: bytes, serial: int) -> bool:
        """Take a refresh token out of use; False if it was used before, or a call of its account is under way."""
        self.requests += 1
        if account in self._under_way:
            self.overlaps += 1
            return False
        if serial != self._next.get(account, 0):
            self.reuses += 1
            return False
        self._next[account] = serial + 1
        self._under_way.add(account)
        return True

    def grant(self, account: bytes) -> bytes:
        """Return the answer that ends a call."""
        self._under_way.discard(account)
        self.answered += 1
        self.last_answer_at = time.monotonic()
        name, serial = account.decode(), self._next[account]
        return (
            f'{{"access_token":"at-{name}-{serial}-{self._padding}","token_type":"Bearer",'
            f'"expires_in":{LIFETIME_S},"refresh_token":"{name}.{serial}"}}'
        ).encode()

    def tally(self) -> bytes:
        shown = ("requests", "answered", "overlaps", "reuses", "last_answer_at")
        return json.dumps({name: getattr(self, name) for name in shown}).encode()


class Connection(asyncio.Protocol):
    """One HTTP/1.1 connection, kept alive; requests on it come one after another."""

    def __init__(self, grants: Grants, latency_s: float) -> None:
        self._grants = grants
        self._latency_s = latency_s
        self._buffer = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head_end = self._buffer.find(b"\r\n\r\n")
        if head_end < 0:
            return
        length = _LENGTH.search(self._buffer, 0, head_end)
        end = head_end + 4 + (int(length[1]) if length else 0)
        if len(self._buffer) < end:
            return
        request, self._buffer = self._buffer[:end], self._buffer[end:]
        self._serve(request, head_end)

    def _serve(self, request: bytes, head_end: int) -> None:
        if request.startswith(b"GET /tally"):
            self._answer(b"200 OK", self._grants.tally())
            return
        line_end = request.find(b"\r\n")
        found = _REFRESH_TOKEN.search(request, head_end) or _REFRESH_TOKEN.search(request, 0, line_end)
        if found is None:
            self._answer(b"400 Bad Request", b'{"error":"invalid_request"}')
            return
        account, serial = found[1], int(found[2])
        loop = asyncio.get_running_loop()
        if self._grants.take(account, serial):
            loop.call_later(self._latency_s, self._grant, account)
        else:
            loop.call_later(self._latency_s, self._answer, b"400 Bad Request", _INVALID_GRANT)

    def _grant(self, account: bytes) -> None:
        self._answer(b"200 OK", self._grants.grant(account))

    def _answer(self, status: bytes, body: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(
                b"HTTP/1.1 %b\r\nContent-Type: application/json\r\nCache-Control: no-store\r\n"
                b"Content-Length: %d\r\n\r\n%b" % (status, len(body), body)
            )


async def serve(latency_s: float, tls: ssl.SSLContext | None = None) -> None:
    """Serve on a free loopback port until SIGTERM; the address is the first line of the output."""
    loop = asyncio.get_running_loop()
    grants, ended = Grants(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    server = await loop.create_server(
        lambda: Connection(grants, latency_s), "127.0.0.1", 0, backlog=2048, ssl=tls
    )
    port = server.sockets[0].getsockname()[1]
    print(f"{'http' if tls is None else 'https'}://127.0.0.1:{port}", flush=True)
    await ended.wait()
    server.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--latency-ms", type=float, default=200.0)
    parser.add_argument("--certificate", help="PEM file; with it, the provider is asked by https")
    parser.add_argument("--key", help="PEM file")
    options = parser.parse_args(sys.argv[1:])
    tls = None
    if options.certificate:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(options.certificate, options.key)
    asyncio.run(serve(options.latency_ms / 1000, tls))


if __name__ == "__main__":
    main()
