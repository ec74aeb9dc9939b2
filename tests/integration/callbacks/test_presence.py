"""Which running worker knows which callbacks: said by each, believed for a minute."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from redis import Redis

from worker.callbacks.catalog import CallbackCatalog, Offered
from worker.callbacks.heartbeats import CallbackHeartbeats
from worker.redis.client import connect
from worker.redis.heartbeats import HEARTBEAT_VALID_S

OFFER = CallbackCatalog({"acme": Offered("python", "acme.py:3", 20)}, {"bad": "SyntaxError"})


@pytest.fixture
def redis(redis_url: str) -> Iterator[Redis]:
    client = connect(redis_url)
    yield client
    client.close()


def test_what_a_worker_says_is_what_others_read(redis: Redis) -> None:
    presence = CallbackHeartbeats(redis, "refreshd:")
    presence.announce("callback@a", OFFER)
    presence.announce("callback@b", CallbackCatalog())
    assert presence.offers() == {"callback@a": OFFER, "callback@b": CallbackCatalog()}
    presence.withdraw("callback@b")
    assert presence.offers() == {"callback@a": OFFER}


def test_a_worker_that_has_been_silent_is_gone(redis: Redis) -> None:
    presence = CallbackHeartbeats(redis, "refreshd:")
    presence.announce("callback@a", OFFER)
    said = json.loads(str(redis.hget("refreshd:callbacks", "callback@a")))
    redis.hset(
        "refreshd:callbacks", "callback@a", json.dumps({**said, "at": said["at"] - HEARTBEAT_VALID_S - 1})
    )

    assert presence.offers() == {}
    presence.announce("callback@b", OFFER)
    assert redis.hkeys("refreshd:callbacks") == ["callback@b"]


@pytest.mark.parametrize(
    "said", ["", "[]", "{}", '{"at": 1, "callbacks": {"a": {"colour": "red"}}, "problems": {}}']
)
def test_what_another_release_says_in_another_form_is_passed_over(redis: Redis, said: str) -> None:
    redis.hset("refreshd:callbacks", "callback@new", said)
    assert CallbackHeartbeats(redis, "refreshd:").offers() == {}
