"""A URL with a password in it shows none, whatever is wrong with the URL or with the server behind it."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Final

import pytest

from tests.contract.leaks.markers import Markers
from worker.db.engine import make_engine, reading
from worker.errors import RefreshdError
from worker.redis.client import connect, in_words
from worker.settings import load_settings
from worker.settings.redis_url import address_of

#: {} is where the marker goes. Nobody listens on port 1.
URLS: Final = {
    "REFRESHD_DATABASE_URL": (
        "postgresql://u:{}@127.0.0.1:1/db",
        "postgresql://u:{}@127.0.0.1:1/db?sslmode=verify-full&sslrootcert=/nowhere",
        "postgresql://127.0.0.1:1/db?user=u&password={}",
        "postgresql://u:x@127.0.0.1:1/db?sslpassword={}",
        "postgresql://u:p@{}@127.0.0.1:1/db",
        "postgresql://u:p:{}/@127.0.0.1:1/db",
        "postgresql://u@h:{}/db",
        "mysql://u:{}@127.0.0.1:1/db",
        "u:{}@127.0.0.1:1/db",
    ),
    "REFRESHD_REDIS_URL": (
        "redis://u:{}@127.0.0.1:1/0",
        "redis://:{}/x@127.0.0.1:1/0",
        "redis://:12/{}@127.0.0.1:1/0",
        "redis://:{}#x@127.0.0.1:1/0",
        "redis://:[{}@127.0.0.1:1/0",
        "redis://127.0.0.1:1/0?password={}",
        "rediss://u:x@127.0.0.1:1/0?ssl_password={}",
        "unix:///nowhere?password={}",
        "http://u:{}@127.0.0.1:1/0",
        "u:{}@127.0.0.1:1/0",
    ),
}


def ask_database(url: str) -> None:
    with reading(make_engine(load_settings(database_url=url).database)):
        pass


def ask_redis(url: str) -> None:
    address = load_settings(redis_url=url).redis
    with in_words(address):
        connect(address).ping()


@pytest.mark.parametrize(
    ("ask", "url"),
    [
        *((ask_database, url) for url in URLS["REFRESHD_DATABASE_URL"]),
        *((ask_redis, url) for url in URLS["REFRESHD_REDIS_URL"]),
    ],
)
def test_a_url_shows_no_password(ask: Callable[[str], None], url: str) -> None:
    markers = Markers()
    with pytest.raises(RefreshdError) as refused:
        ask(url.format(markers.word("password")))
    assert not markers.find("error", "".join(traceback.format_exception(refused.value)))


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://u:secret@host:6380/3", "host:6380/3"),
        ("rediss://host/0?ssl_password=secret", "host/0"),
        ("unix://u:secret@/run/redis.sock?db=2&password=secret", "/run/redis.sock?db=2"),
    ],
)
def test_of_a_redis_s_url_its_place_is_shown(url: str, shown: str) -> None:
    assert address_of(url) == shown
