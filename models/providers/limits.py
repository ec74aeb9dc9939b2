"""Limits on provider data and accounts: no secret is published, and no header that frames a request is set."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

#: Endings of the names of secrets. `refresh_token_expires_in` is none.
_SECRET: Final = re.compile(
    r"(refresh[_-]?token|secret|passw(or)?d|private[_-]?key|credentials?|api[_-]?key|assertion)$",
    re.IGNORECASE,
)
#: RFC 9110 section 5.6.2.
_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
#: Where a request goes, how long it is, and what ends at the next hop (RFC 9110 sections 7.2, 7.6.1 and 8.6, RFC 9112
#: section 6.1): the client's own business. Set otherwise, one request could be read as another, or as two.
_FRAMING: Final = frozenset(
    {
        "connection",
        "content-length",
        "expect",
        "host",
        "http2-settings",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)


def names_a_secret(path: str) -> bool:
    """Return whether the last step of a path is the name of a secret."""
    return _SECRET.search(path.rpartition(".")[2]) is not None


def check_published(paths: Iterable[str], where: str) -> None:
    """Check paths of a response whose values are published.

    Raises:
        ValueError: one of them leads to a secret.
    """
    found = next((path for path in paths if names_a_secret(path)), None)
    if found is not None:
        raise ValueError(f"{where}: {found} is a secret, which is never published")


def check_headers(headers: Mapping[str, str]) -> None:
    """Check the names of headers that are added to a request.

    Raises:
        ValueError: one can't be sent, or is the HTTP client's own.
    """
    for name in headers:
        if not _HEADER_NAME.fullmatch(name):
            raise ValueError(f"headers: {name[:60]!r} is not a name of a header")
        if name.lower() in _FRAMING:
            raise ValueError(f"headers.{name}: only the HTTP client sets it")
