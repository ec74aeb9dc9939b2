"""Where a browser may be sent back to: only to an address that the client names. No redirect is open.

An entry of a client's `return_urls` is an address, compared as a whole, or ends in `/*`: then any path below it is
meant, at the same scheme, host and port, with any query. Addresses are https, or http to this machine.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit, urlunsplit

from worker.errors import SettingsError

ANY_PATH: Final = "/*"
_LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})
#: What browsers read differently than they write: white space, a backslash, characters that are no ASCII.
_PLAIN: Final = re.compile(r"[\x21-\x5b\x5d-\x7e]+")
#: Steps of a path, encoded or not, that leave the folder that an entry names.
_CLIMBS: Final = re.compile(r"(?:^|/)(?:\.|%2e){1,2}(?:/|$)|%2f|%5c", re.IGNORECASE)
_LENGTH_MAX: Final = 2000
#: Parameters that say what became of a session.
OURS: Final = ("session", "account", "status", "reason")


def problem_of(url: str) -> str | None:
    """Return what is wrong with an address to go back to, None where nothing is."""
    if len(url) > _LENGTH_MAX:
        return f"is longer than {_LENGTH_MAX} characters"
    address = _address(url)
    if address is None:
        return "not a URL; expected https://HOST/PATH, plain ASCII, percent-encoded"
    if address.username is not None or address.password is not None:
        return "holds a user name or password"
    if address.fragment or url.endswith("#"):
        return "holds a fragment (#), which the answer would be hidden in"
    if address.scheme == "http" and (address.hostname or "") not in _LOOPBACK:
        return "plain http is for this machine alone; expected https://"
    if address.scheme not in {"https", "http"} or not address.hostname:
        return "expected https://HOST/PATH"
    return None


def problem_of_entry(entry: str) -> str | None:
    """Return what is wrong with an entry of a client's `return_urls`, None where nothing is."""
    return problem_of(entry.removesuffix("*") if entry.endswith(ANY_PATH) else entry)


def entries_of(text: str) -> list[str]:
    """Return the entries of REFRESHD_CONNECT_RETURN_URLS, which have commas between.

    Raises:
        SettingsError: one of them is no such address.
    """
    entries = [one.strip() for one in text.split(",") if one.strip()]
    for entry in entries:
        if (reason := problem_of_entry(entry)) is not None:
            raise SettingsError(f"REFRESHD_CONNECT_RETURN_URLS: {entry[:200]!r}: {reason}")
    return entries


def admits(entries: Iterable[str], url: str) -> bool:
    """Return whether a client that has these entries allows an address."""
    return problem_of(url) is None and any(_fits(entry, url) for entry in entries)


def with_outcome(return_url: str, outcome: Mapping[str, str | None]) -> str:
    """Return the address with what became of the session in its query; parameters of the same names give way."""
    address = urlsplit(return_url)
    kept = [
        (name, value) for name, value in parse_qsl(address.query, keep_blank_values=True) if name not in OURS
    ]
    given = [(name, value) for name, value in outcome.items() if value is not None]
    return urlunsplit(address._replace(query=urlencode([*kept, *given])))


def _fits(entry: str, url: str) -> bool:
    if not entry.endswith(ANY_PATH):
        return entry == url
    below, address = urlsplit(entry.removesuffix("*")), urlsplit(url)
    same = (below.scheme, below.netloc.casefold()) == (address.scheme, address.netloc.casefold())
    return same and address.path.startswith(below.path) and not _CLIMBS.search(address.path)


def _address(url: str) -> SplitResult | None:
    if not _PLAIN.fullmatch(url):
        return None
    try:
        address = urlsplit(url)
        _ = address.port  # it raises where there is no such port
    except ValueError:
        return None
    return address
