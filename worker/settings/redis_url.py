"""The URL of a Redis: whether it can be used, and what of it may be shown."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, urlsplit

#: Options that name a file. OpenSSL's error for a missing one does not name it.
_FILES: Final = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
_TLS: Final = {
    *_FILES,
    *("ssl_ca_data", "ssl_ca_path", "ssl_cert_reqs", "ssl_check_hostname", "ssl_ciphers", "ssl_password"),
}
#: Options by scheme that both of redis-py's clients and Celery's broker accept. Any other ends one of them in a TypeError.
_OPTIONS: Final = {"redis": set[str](), "rediss": _TLS, "unix": {"db", "username", "password"}}
_SENTINEL: Final = ("sentinel://", "sentinels://")
_CLUSTER: Final = ("cluster://", "clusters://")
_UNRESERVED: Final = r"[A-Za-z0-9._~%!$&'()*+,;=-]*"
#: A URL without options whose parts can't be mistaken; ports above 59999 are left to redis-py.
_PLAIN: Final = re.compile(
    rf"rediss?://(?:{_UNRESERVED}(?::{_UNRESERVED})?@)?[A-Za-z0-9.-]+(?::(?:[1-5]\d{{4}}|\d{{1,4}}))?(?:/\d*)?"
)
#: What of a URL may be shown, of however many hosts: `urlsplit` refuses some of several.
_SHOWN: Final = re.compile(r"\w+://(?:[^/?#]*@)?(?P<shown>[^?#]*)")
#: No URL appears in an error: a password that is not quoted may be in any part of it.
NO_BROKER: Final = (
    "a Redis Cluster holds no task messages (Celery's broker needs several keys at once); expected the URL of a single "
    "primary, or sentinel://, for them: REFRESHD_BROKER_URL"
)
_INVALID: Final = "not a valid Redis URL; expected redis://, rediss://, unix://, sentinel(s):// or cluster(s)://; @ : / ? # [ in a password are written as %40 %3A %2F %3F %23 %5B"


def check_redis_url(url: str) -> None:
    """Check that redis-py and, unless it names a Cluster, kombu can use a URL.

    Raises:
        ValueError: the URL is invalid, has an option that its scheme does not take, or names a file that can't be read.
    """
    if _PLAIN.fullmatch(url):
        return
    from redis import ConnectionPool, RedisError  # late: commands without Redis do not load it

    if url.startswith(_SENTINEL):
        _check_sentinel_url(url)
        return
    if url.startswith(_CLUSTER):
        _check_cluster_url(url)
        return
    try:
        parts = urlsplit(url)
        options = parse_qs(parts.query)
        takes = _OPTIONS[parts.scheme]
        with_database = parts.scheme == "unix" or re.fullmatch(r"/?|/\d+", parts.path)
        _check_files(options)
        if options.keys() <= takes:
            ConnectionPool.from_url(url).make_connection()
    except _FileError:
        raise
    except (ValueError, KeyError, TypeError, RedisError):
        raise ValueError(_INVALID) from None
    if not with_database or "@" in parts.query:  # redis-py passes over a path that is not a number
        raise ValueError(_INVALID)
    if not options.keys() <= takes:
        known = ", ".join(sorted(takes)) or "none; a database is written /1"
        raise ValueError(
            f"not a valid Redis URL: unknown option behind the ?; {parts.scheme}:// takes {known}"
        )


def _check_sentinel_url(url: str) -> None:
    from redis import ConnectionPool, RedisError

    from refreshd_reader.redis.sentinel import OPTIONS, SentinelAddress

    address = SentinelAddress.of(url)
    takes = OPTIONS | (_TLS if address.tls else set())
    options = parse_qs(_query(url))
    _check_files(options)
    if not options.keys() <= takes:
        raise ValueError(
            f"not a valid Redis URL: unknown option behind the ?; {url.partition('://')[0]}:// takes {', '.join(sorted(takes))}"
        )
    try:
        ConnectionPool(**address.connection_kwargs(asynchronous=False)).make_connection()
    except (ValueError, TypeError, RedisError):
        raise ValueError(_INVALID) from None


def _check_cluster_url(url: str) -> None:
    from refreshd_reader.redis.cluster import ClusterAddress

    ClusterAddress.of(url)
    _check_files(parse_qs(_query(url)))


def check_broker_url(url: str) -> None:
    """Check that the Redis of task messages can be one.

    Raises:
        ValueError: as `check_redis_url`; or the URL names a Cluster.
    """
    if is_cluster_url(url):
        raise ValueError(NO_BROKER)
    check_redis_url(url)


def is_cluster_url(url: str) -> bool:
    """Return whether a URL names a Redis Cluster."""
    return url.startswith(_CLUSTER)


class _FileError(ValueError):
    """A file that the URL names can't be read."""


def _check_files(options: dict[str, list[str]]) -> None:
    for option in _FILES:
        for name in options.get(option, []):
            try:
                Path(name).open("rb").close()
            except OSError as error:
                raise _FileError(f"{option}={name} can't be read: {error.strerror}") from None


def address_of(url: str) -> str:
    """Return what of a URL may be shown: host, port and database, or a socket's path; no user, password or option."""
    found = _SHOWN.match(url)
    database = parse_qs(_query(url)).get("db")
    return f"{found['shown'] if found else ''}{f'?db={database[0]}' if database else ''}"


def _query(url: str) -> str:
    return url.partition("?")[2]
