"""`cluster://` and `clusters://`: what a URL says, what is refused, and what is never shown."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from refreshd_reader import AsyncReader, Reader, RedisUnreachable, UnusableUrl
from refreshd_reader.redis.cluster import ClusterAddress
from worker.errors import SettingsError
from worker.settings import load_settings
from worker.settings.redis_url import address_of, check_redis_url

URL = "cluster://us%40er:p%2Fw@h1:7001,h2,[::1]:7003"


def test_a_url_names_hosts_and_a_login() -> None:
    address = ClusterAddress.of(URL)
    assert address.hosts == (("h1", 7001), ("h2", 6379), ("::1", 7003))
    assert (address.username, address.password) == ("us@er", "p/w")
    assert address.tls_options == {}
    assert "p/w" not in repr(address)
    assert address_of(URL) == "h1:7001,h2,[::1]:7003"
    check_redis_url(URL)


def test_tls_is_for_every_node() -> None:
    address = ClusterAddress.of("clusters://:pw@h1?ssl_check_hostname=false")
    assert address.client_kwargs()["ssl"] is True
    assert address.client_kwargs()["ssl_check_hostname"] is False


@pytest.mark.parametrize(
    "url",
    [
        "cluster://",
        "cluster://h1:x",
        "cluster://h1/1",
        "cluster://h1/fleet/0",
        "cluster://,h1",
        "cluster://u:hush@word@h1:x",
        "cluster://u:hush?@h1",
        "cluster://h1?hush=hush",
        "cluster://h1?ssl_ca_certs=/hush",
    ],
)
def test_what_is_no_url_is_refused_without_a_piece_of_it(url: str) -> None:
    for made in (Reader.from_url, AsyncReader.from_url):
        with pytest.raises(UnusableUrl) as refused:
            made(url)
        assert "u:hush" not in str(refused.value)
    with pytest.raises(ValueError, match="URL"):
        check_redis_url(url)


def test_a_reader_connects_when_it_reads() -> None:
    with Reader.from_url("cluster://127.0.0.1:1") as reader, pytest.raises(RedisUnreachable):
        reader.get("a")


async def test_so_does_one_for_asyncio() -> None:
    async with AsyncReader.from_url("cluster://127.0.0.1:1") as reader:
        with pytest.raises(RedisUnreachable):
            await reader.get("a")


def test_task_messages_need_a_redis_that_is_none() -> None:
    url = SecretStr(URL)
    with pytest.raises(SettingsError, match="REFRESHD_REDIS_URL: a Redis Cluster holds no task messages"):
        load_settings(redis_url=url, broker_url=None)
    with pytest.raises(SettingsError, match="REFRESHD_BROKER_URL: a Redis Cluster holds no task messages"):
        load_settings(redis_url=None, broker_url=url)
    settings = load_settings(redis_url=url, broker_url=SecretStr("redis://h1/0"))
    assert (settings.redis, settings.broker) == (URL, "redis://h1/0")
