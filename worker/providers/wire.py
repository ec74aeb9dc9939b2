"""Requests and responses as a transport takes and gives them: what httpx' own hold, at a tenth of their cost.

A refresh makes one of each. httpx' classes normalise headers twice and decode all of them at each look-up.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Self

import httpx
from msgspec import Struct

_PORTS: Final = {"http": 80, "https": 443}
_SUCCESSES: Final = range(200, 300)
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_SERVER_ERRORS: Final = range(500, 600)


class Target(Struct, frozen=True):
    """Where a request goes: a URL, taken apart once for all requests to it."""

    url: httpx.URL
    host: str
    port: int
    is_tls: bool
    #: Host and port, as the header `Host` names them.
    netloc: str
    #: Path and query.
    path: str

    @classmethod
    def of(cls, url: httpx.URL) -> Self:
        return cls(
            url=url,
            host=url.raw_host.decode("ascii"),
            port=url.port or _PORTS[url.scheme],
            is_tls=url.scheme == "https",
            netloc=url.netloc.decode("ascii"),
            path=url.raw_path.decode("ascii"),
        )


class WireResponse:
    """Status and headers of a response, and the stream of its body."""

    __slots__ = ("headers", "host", "status_code", "stream")

    def __init__(
        self, status: int, headers: Iterable[tuple[bytes, bytes]], stream: httpx.AsyncByteStream, host: str
    ) -> None:
        self.status_code = status
        #: Names in lower case; the values of a name that stands several times are joined (RFC 9110 section 5.2).
        self.headers = _by_name(headers)
        self.stream = stream
        #: The host that was asked.
        self.host = host

    @property
    def is_success(self) -> bool:
        return self.status_code in _SUCCESSES

    @property
    def is_server_error(self) -> bool:
        return self.status_code in _SERVER_ERRORS

    @property
    def has_redirect_location(self) -> bool:
        return self.status_code in _REDIRECTS and "location" in self.headers


def _by_name(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for raw_name, raw_value in headers:
        name, value = _text(raw_name).lower(), _text(raw_value)
        found[name] = f"{found[name]}, {value}" if name in found else value
    return found


def _text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")
