"""Redis over TLS: the blocking client, the event loop's and kombu's broker trust, show and refuse the same."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from kombu import Connection
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from tests.support.providers.certificates import Authority
from tests.support.providers.tls_relay import tls_redis
from worker.broker.kombu import TRANSPORT_OPTIONS, broker_tls, broker_url
from worker.errors import RedisUnreachable
from worker.redis.client import connect, connect_async, in_words


def blocking(url: str) -> None:
    with connect(url) as client:
        assert client.ping()


def on_the_loop(url: str) -> None:
    async def ping() -> None:
        client = connect_async(url)
        try:
            assert await client.ping()
        finally:
            await client.aclose()

    asyncio.run(ping())


def broker(url: str) -> None:
    # Once: kombu says what is wrong after seven seconds of trying again.
    made: Any = Connection(broker_url(url), transport_options={**TRANSPORT_OPTIONS, "max_retries": 0})
    with made as connection:
        connection.default_channel.client.ping()


REFUSED = (RedisError, OSError, OperationalError)
CLIENTS = pytest.mark.parametrize("ping", [blocking, on_the_loop, broker])
Ping = Callable[[str], None]


@CLIENTS
def test_an_authority_that_the_url_names_is_trusted(
    ping: Ping, redis_url: str, authority: Authority, ca_file: Path, tmp_path: Path
) -> None:
    with tls_redis(redis_url, authority, tmp_path, authority.sign("localhost")) as url:
        ping(f"{url}?ssl_ca_certs={ca_file}")


@CLIENTS
@pytest.mark.parametrize(
    ("host", "ends_in", "named", "says"),
    [
        ("localhost", timedelta(days=1), False, "certificate"),
        ("localhost", timedelta(days=-1), True, "expired"),
        ("other.example.com", timedelta(days=1), True, "[Hh]ostname mismatch"),
    ],
    ids=["unknown authority", "expired", "another host"],
)
def test_a_certificate_that_does_not_hold_is_refused(
    *,
    ping: Ping,
    redis_url: str,
    authority: Authority,
    ca_file: Path,
    tmp_path: Path,
    host: str,
    ends_in: timedelta,
    named: bool,
    says: str,
) -> None:
    signed = authority.sign(host, ends_in=ends_in)
    with tls_redis(redis_url, authority, tmp_path, signed) as url, pytest.raises(REFUSED, match=says):
        ping(f"{url}?ssl_ca_certs={ca_file}" if named else url)


@CLIENTS
def test_a_client_certificate_is_shown(
    ping: Ping, redis_url: str, authority: Authority, ca_file: Path, tmp_path: Path
) -> None:
    shown = authority.sign("worker").written(tmp_path, "worker")
    with tls_redis(redis_url, authority, tmp_path, authority.sign("localhost"), asks_client=True) as url:
        with pytest.raises(REFUSED):
            ping(f"{url}?ssl_ca_certs={ca_file}")
        ping(f"{url}?ssl_ca_certs={ca_file}&ssl_certfile={shown[0]}&ssl_keyfile={shown[1]}")


def test_a_server_that_asks_for_a_certificate_is_said_to_be_one(
    redis_url: str, authority: Authority, ca_file: Path, tmp_path: Path
) -> None:
    with (
        tls_redis(redis_url, authority, tmp_path, authority.sign("localhost"), asks_client=True) as url,
        pytest.raises(RedisUnreachable, match=r"ssl_certfile=FILE and ssl_keyfile=FILE what to show"),
        in_words(url),
    ):
        blocking(f"{url}?ssl_ca_certs={ca_file}")


def test_the_error_says_what_to_do(redis_url: str, authority: Authority, tmp_path: Path) -> None:
    with (
        tls_redis(redis_url, authority, tmp_path, authority.sign("localhost")) as url,
        pytest.raises(RedisUnreachable, match=r"certificate verify failed.*ssl_ca_certs=FILE"),
        in_words(url),
    ):
        blocking(url)


def test_a_url_that_says_so_is_left_alone() -> None:
    assert broker_url("rediss://host/0?ssl_cert_reqs=none") == "rediss://host/0?ssl_cert_reqs=none"
    assert broker_url("rediss://host/0") == "rediss://host/0?ssl_cert_reqs=required"
    assert broker_url("redis://host/0") == "redis://host/0"


def test_flower_is_told_of_tls() -> None:
    """It reads `broker_use_ssl` alone. The password of a key is not for pages that show the configuration."""
    assert broker_tls("redis://host/0?ssl_ca_certs=x") is None
    url = "rediss://host/0?ssl_ca_certs=/etc/ca.pem&ssl_password=hush"
    assert broker_tls(url) == {"ssl_cert_reqs": "required", "ssl_ca_certs": "/etc/ca.pem"}
