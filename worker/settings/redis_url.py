"""The URL of a Redis: what is wrong with it, and what of it may be shown."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, urlsplit

#: Options that name a file. What OpenSSL says of one that is not there names none.
_FILES: Final = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
#: What may stand behind a `?`, by scheme: what redis-py's two clients and Celery's broker all take. Any other option
#: ends one of them in a TypeError.
_OPTIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "redis": (),
    "rediss": (
        *_FILES,
        "ssl_ca_data",
        "ssl_ca_path",
        "ssl_cert_reqs",
        "ssl_check_hostname",
        "ssl_ciphers",
        "ssl_password",
    ),
    "unix": ("db", "username", "password"),
}
_CERT_REQS: Final = ("none", "optional", "required")


def check_redis_url(url: str) -> None:
    """Refuse what redis-py or kombu would fail on later, with a piece of the password in its words.

    Raises:
        ValueError: says what is wrong.
    """
    if not url.startswith(("redis://", "rediss://", "unix://")):
        raise ValueError("is no address of a Redis")
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018  (it is read when it is asked for)
    except ValueError:
        raise ValueError("has no port: a password's / ? # [ are written as %2F %3F %23 %5B") from None
    if parts.scheme != "unix" and "@" in parts.path:  # what stands before it passed for host and port
        raise ValueError("has an @ in its path: a password's / ? # [ are written as %2F %3F %23 %5B")
    if parts.scheme != "unix" and "password" in parse_qs(parts.query):
        raise ValueError("has its password among the options, where a broker's URL has none")
    if parts.scheme != "unix" and not re.fullmatch(r"/?|/\d+", parts.path):
        raise ValueError("names a database that is no number: it ends with /0, or /1 ...")
    options = parse_qs(parts.query)
    unknown = next((name for name in options if name not in _OPTIONS[parts.scheme]), None)
    if unknown is not None and "@" in parts.query:  # it may be a piece of the password
        raise ValueError("has an @ behind its ?: a password's / ? # [ are written as %2F %3F %23 %5B")
    if unknown is not None:
        known = ", ".join(_OPTIONS[parts.scheme]) or "none"
        database = " (a database is written /1)" if unknown == "db" else ""
        raise ValueError(f"has an option {unknown[:60]!r}{database}; {parts.scheme}:// takes {known}")
    _check_values(options)


def _check_values(options: dict[str, list[str]]) -> None:
    for text in options.get("db", []):
        if not text.isdecimal():
            raise ValueError("names a database that is no number: db=0, or db=1 ...")
    for text in options.get("ssl_cert_reqs", []):
        if text not in _CERT_REQS:
            raise ValueError(f"has an ssl_cert_reqs that is none of {', '.join(_CERT_REQS)}")
    _check_files(options)


def _check_files(options: dict[str, list[str]]) -> None:
    for option in _FILES:
        for name in options.get(option, []):
            try:
                with Path(name).open("rb"):
                    pass
            except OSError as error:
                raise ValueError(f"{option}={name} can't be read: {error.strerror}") from None


def address_of(url: str) -> str:
    """Return what of a URL may be shown: host, port and database, or a socket's path; no user, password or option."""
    parts = urlsplit(url)
    database = parse_qs(parts.query).get("db")
    return f"{parts.netloc.rpartition('@')[2]}{parts.path}{f'?db={database[0]}' if database else ''}"
