"""Watching a demo: what is in Redis and at the provider, and what is said where one of them is away."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import redis

from refreshd_reader.contract import AccountState, Keys, Token
from worker.clock import wall_clock
from worker.local.demo.accounts import demo_accounts
from worker.local.demo.watch import Watcher
from worker.redis.client import connect
from worker.redis.event_stream import EventFeed, SeenEvent

KEYS = Keys()
NOBODY = "http://127.0.0.1:1"


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    made = connect(redis_url)
    yield made
    made.close()


def happened(client: redis.Redis, kind: str, account: str = "demo-01", **fields: str) -> None:
    entry: dict[Any, Any] = {"type": kind, "account": account, "reason": "r", "at": "5", **fields}
    client.xadd(KEYS.events, entry)


class TestEventFeed:
    def test_it_gives_each_event_once(self, client: redis.Redis) -> None:
        feed = EventFeed(client, KEYS)
        assert feed.new() == []
        happened(client, "refreshed", generation="3")
        happened(client, "failed", generation="4")
        assert feed.new() == [
            SeenEvent("refreshed", "demo-01", "r", 3, 5.0),
            SeenEvent("failed", "demo-01", "r", 4, 5.0),
        ]
        assert feed.new() == []

    def test_what_was_before_can_be_left_out(self, client: redis.Redis) -> None:
        feed = EventFeed(client, KEYS)
        happened(client, "failed")
        feed.skip_old()
        happened(client, "refreshed")
        assert [event.kind for event in feed.new()] == ["refreshed"]

    def test_an_event_of_a_client_has_no_account(self, client: redis.Redis) -> None:
        client.xadd(KEYS.events, {"type": "misconfigured", "client": "crm", "reason": "invalid_client"})
        assert EventFeed(client, KEYS).new() == [
            SeenEvent("misconfigured", "crm", "invalid_client", None, 0.0)
        ]


class TestWatcher:
    @pytest.fixture
    def watcher(self, client: redis.Redis) -> Iterator[Watcher]:
        made = Watcher(demo_accounts(2), redis=client, keys=KEYS, provider_url=NOBODY)
        yield made
        made.close()

    def test_it_sees_what_a_connector_sees(self, client: redis.Redis, watcher: Watcher) -> None:
        now = wall_clock()
        token, state = Token("t", 2, issued_at=now, expires_at=now + 20), AccountState("active", 2)
        client.hset(KEYS.token("demo-01"), mapping=dict[Any, Any](token.to_hash()))
        client.hset(KEYS.account("demo-01"), mapping=dict[Any, Any](state.to_hash()))
        happened(client, "refreshed", generation="2")
        happened(client, "recovered", generation="2")

        picture = watcher.look()

        one, two = picture.accounts
        assert one.state == state
        assert one.token is not None
        assert one.token.generation == 2
        assert one.last is not None
        assert one.last.kind == "refreshed"
        assert (two.state, two.token, two.last) == (None, None, None)
        assert (picture.refreshed, picture.failed) == (1, 0)
        assert [event.kind for event in picture.new_events] == ["refreshed", "recovered"]

    def test_it_says_that_the_provider_is_away(self, watcher: Watcher) -> None:
        picture = watcher.look()
        assert picture.trouble == ["the provider does not answer"]
        assert picture.reuses is None

    def test_it_says_that_redis_is_away_and_shows_what_it_saw_last(self) -> None:
        nowhere = connect("redis://127.0.0.1:1/0")
        watcher = Watcher(demo_accounts(2), redis=nowhere, keys=KEYS, provider_url=NOBODY, from_now=True)
        noted = SeenEvent("ended", "redis", "was ended by SIGKILL", None, 1.0)
        watcher.note(noted)
        picture = watcher.look()
        assert picture.trouble[0].startswith("Redis does not answer")
        assert len(picture.accounts) == 2
        watcher.close()
        nowhere.close()

    def test_what_is_noted_stands_among_the_events(self, watcher: Watcher) -> None:
        noted = SeenEvent("runs again", "worker-1", "process 1", None, 1.0)
        watcher.note(noted)
        assert noted in watcher.look().events
        assert noted not in watcher.look().new_events
