"""`sentinel://` and `sentinels://`: what a URL says, what is refused, and what is never shown."""

from __future__ import annotations

import pytest

from refreshd_reader import Reader, RedisUnreachable, UnusableUrl
from refreshd_reader.redis.sentinel import SentinelAddress
from worker.broker.kombu import broker_tls, broker_url, transport_options
from worker.settings.redis_url import address_of, check_redis_url

URL = (
    "sentinel://us%40er:p%2Fw@h1:26379,h2,[::1]:26380/fleet/3?sentinel_username=watch&sentinel_password=hush"
)


def test_a_url_names_hosts_primary_database_and_both_logins() -> None:
    address = SentinelAddress.of(URL)
    assert address.hosts == (("h1", 26379), ("h2", 26379), ("::1", 26380))
    assert (address.master, address.database, address.username, address.password) == (
        "fleet",
        3,
        "us@er",
        "p/w",
    )
    assert address.sentinel_options == {"username": "watch", "password": "hush"}
    assert not address.tls


def test_login_and_database_may_be_left_out() -> None:
    address = SentinelAddress.of("sentinel://h1/fleet")
    assert (address.username, address.password, address.database) == (None, None, 0)


def test_tls_is_for_sentinels_and_servers_alike() -> None:
    address = SentinelAddress.of("sentinels://:pw@h1/fleet/0?ssl_ca_certs=/ca.pem")
    assert address.sentinel_kwargs()["ssl"] is True
    unchecked = SentinelAddress.of("sentinels://h1/fleet?ssl_check_hostname=no")
    assert unchecked.sentinel_kwargs()["ssl_check_hostname"] is False
    assert address.sentinel_kwargs()["ssl_ca_certs"] == "/ca.pem"
    assert address.connection_kwargs(asynchronous=False)["ssl_ca_certs"] == "/ca.pem"
    assert broker_tls("sentinels://h1/fleet?ssl_ca_certs=/ca.pem&ssl_password=hush") == {
        "ssl_cert_reqs": "required",
        "ssl_ca_certs": "/ca.pem",
    }
    assert broker_tls("sentinel://h1/fleet") is None


@pytest.mark.parametrize(
    "url",
    [
        "sentinel://",
        "sentinel://h1:26379",
        "sentinel://h1:26379/",
        "sentinel://h1:26379/fleet/x",
        "sentinel://h1:26379/fleet/0/1",
        "sentinel://,h1/fleet/0",
        "sentinel://u:hush@word@h1:x/fleet/0",
        "sentinel://u:hush?@h1/fleet/0",
    ],
)
def test_what_is_no_url_is_refused_without_a_piece_of_it(url: str) -> None:
    with pytest.raises(ValueError, match="expected sentinel://USER:PASSWORD@HOST") as refused:
        check_redis_url(url)
    assert "hush" not in str(refused.value)
    with pytest.raises(UnusableUrl, match="expected sentinel://USER") as unusable:
        Reader.from_url(url)
    assert "hush" not in str(unusable.value)


def test_an_unknown_option_is_named_with_those_that_are_known() -> None:
    with pytest.raises(ValueError, match=r"sentinel:// takes sentinel_password, sentinel_username"):
        check_redis_url("sentinel://h1/fleet/0?ssl_password=x")
    check_redis_url(URL)


def test_no_page_and_no_repr_shows_a_password() -> None:
    """A worker's statistics, which Flower shows, have kombu's options in them."""
    assert address_of(URL) == "h1:26379,h2,[::1]:26380/fleet/3"
    shown = repr(SentinelAddress.of(URL)) + repr(transport_options(URL)) + address_of(URL)
    assert "hush" not in shown
    assert "p/w" not in shown


def test_the_broker_is_told_of_every_sentinel() -> None:
    assert broker_url(URL) == ";".join(
        f"sentinel://us%40er:p%2Fw@{host}/3" for host in ("h1:26379", "h2:26379", "[::1]:26380")
    )
    assert transport_options(URL)["master_name"] == "fleet"


def test_sentinels_that_are_away_are_named_and_no_password_is() -> None:
    with (
        Reader.from_url("sentinel://:hush@127.0.0.1:1/fleet/0?sentinel_password=hushed") as reader,
        pytest.raises(RedisUnreachable, match=r"'fleet' which is up \(asked: 127\.0\.0\.1:1\)") as error,
    ):
        reader.get("acct")
    assert "hush" not in str(error.value)
