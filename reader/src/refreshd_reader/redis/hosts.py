"""URLs that name several hosts, taken apart by RFC 3986 appendix B.

`urllib.parse.urlsplit` of Python 3.14.10 refuses an IPv6 address that is not the first of them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qsl, unquote

_URL: Final = re.compile(
    r"(?P<scheme>[a-z]+)://(?:(?P<login>[^/?#]*)@)?(?P<hosts>[^/?#]*)(?P<path>[^?#]*)(?:\?(?P<query>[^#]*))?"
)
_HOST: Final = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[^:\[\]@,\s]+)(?::(\d{1,5}))?")


@dataclass(frozen=True, slots=True)
class HostsUrl:
    """A URL of several hosts, `SCHEME://USER:PASSWORD@HOST:PORT,HOST:PORT/PATH?OPTION=VALUE`, in parts."""

    scheme: str
    hosts: tuple[tuple[str, int], ...]
    path: str
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    options: dict[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, url: str, *, port: int) -> HostsUrl:
        """Read a URL; hosts without a port have `port`.

        Raises:
            ValueError: it is none, or may have a piece of a password in another part.
        """
        parts = _URL.fullmatch(url)
        found = [] if parts is None else [_HOST.fullmatch(one) for one in parts["hosts"].split(",")]
        query = "" if parts is None else parts["query"] or ""
        if parts is None or "@" in query or not all(found):
            raise ValueError("not a URL of several hosts")
        user, colon, password = (parts["login"] or "").partition(":")
        return cls(
            scheme=parts["scheme"],
            hosts=tuple((one[1].strip("[]"), int(one[2] or port)) for one in found if one is not None),
            path=parts["path"],
            username=unquote(user) or None,
            password=unquote(password) if colon else None,
            options=dict(parse_qsl(query, strict_parsing=bool(query))),
        )


def host_text(address: tuple[str, int]) -> str:
    """Return a host and its port as a URL has them."""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
