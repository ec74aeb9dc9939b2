"""What is written to the shelf, on a real Redis: whole, never backwards, and no lease but ours ends with it."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any, Final

import pytest
import redis
from redis.asyncio import Redis

from models.event import Event
from models.publication import Publication, publication
from models.tables.account import Account, Status
from models.token import Secret
from refreshd_reader.contract import AccountState, Keys, Token
from worker.redis.client import connect, connect_async
from worker.redis.pending_answers import KEPT_S
from worker.redis.publisher import REMOVED_KEPT_S, TokenPublisher

KEYS = Keys()
#: Read long before the last of these runs: what shall be alive then ends in days.
#: Redis counts by its own clock. No parameter of a test is made of it: each process that runs tests has another one.
NOW: Final = float(int(time.time()))
LATER: Final = NOW + 1e6
ACCOUNT, TOKEN, LOCK = KEYS.account("a"), KEYS.token("a"), KEYS.lock("a")


def state(generation: int, reason: str | None = None) -> Publication:
    return Publication("a", AccountState("active", generation, reason))


def token(generation: int, *, ends: float | None = LATER, **fields: Any) -> Publication:
    return Publication(
        "a", AccountState("active", generation), Token("AT", generation, expires_at=ends, **fields)
    )


@pytest.fixture
def here(redis_url: str) -> redis.Redis:
    return connect(redis_url)


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[Redis]:
    client = connect_async(redis_url)
    yield client
    await client.aclose()


@pytest.fixture
def publisher(client: Redis) -> TokenPublisher:
    return TokenPublisher(client, KEYS)


@pytest.mark.parametrize("make", [token, state])
@pytest.mark.parametrize(("seen", "published"), [(None, True), (2, True), (3, True), (4, False)])
async def test_nothing_newer_is_written_over(
    publisher: TokenPublisher, here: redis.Redis, make: Any, seen: int | None, published: bool
) -> None:
    if seen is not None:
        here.hset(ACCOUNT, mapping={"generation": seen, "reason": "theirs"})
    found = await publisher.put([make(3)])
    assert found == ({} if published else {"a": 4})
    assert here.hget(ACCOUNT, "reason") == ("" if published else "theirs")
    assert here.exists(TOKEN) == int(published and make is token)


async def test_what_was_published_before_leaves_no_field_behind(
    publisher: TokenPublisher, here: redis.Redis
) -> None:
    await publisher.put([token(1, scope="read", extra={"instance_url": "https://a.example"})])
    here.hset(ACCOUNT, "of a release before", "x")
    again = token(2)
    await publisher.put([again])
    assert again.token is not None
    assert (here.hgetall(TOKEN), here.hgetall(ACCOUNT)) == (again.token.to_hash(), again.state.to_hash())
    here.hset(ACCOUNT, "of a release before", "x")
    failed = state(2, "timed_out")
    await publisher.put([failed])
    assert (here.hgetall(TOKEN), here.hgetall(ACCOUNT)) == (again.token.to_hash(), failed.state.to_hash())


@pytest.mark.parametrize(
    ("ends", "expires_ms"), [(LATER + 0.5, int(LATER) * 1000 + 500), (None, -1)], ids=["an end", "no end"]
)
async def test_a_token_is_there_as_long_as_it_is_one(
    publisher: TokenPublisher, here: redis.Redis, ends: float | None, expires_ms: int
) -> None:
    await publisher.put([token(1, ends=ends)])
    assert here.pexpiretime(TOKEN) == expires_ms
    assert here.pttl(ACCOUNT) == -1
    await publisher.put([token(2, ends=NOW - 60), token(3, ends=None)])
    assert here.pttl(TOKEN) == -1
    await publisher.put([token(4, ends=0.0)])
    assert not here.exists(TOKEN), "an end in 1970 is one too"


async def test_readers_are_told_of_tokens_and_of_removals(
    publisher: TokenPublisher, client: Redis, here: redis.Redis
) -> None:
    here.hset(KEYS.account("newer"), "generation", 9)
    newer = Publication("newer", AccountState("active", 1), Token("AT", 1))
    async with client.pubsub(ignore_subscribe_messages=True) as told:
        await told.subscribe(KEYS.announce)
        await told.get_message(timeout=10)
        await publisher.put([token(3), state(3), newer])
        await publisher.drop("a", 4)
        found = [await told.get_message(timeout=10) for _ in range(2)]
    assert [message and message["data"] for message in found] == ["a 3", "a 0"]


@pytest.mark.parametrize("seen", [0, 9], ids=["published", "older than what is there"])
@pytest.mark.parametrize(
    ("held", "handed", "ends"),
    [("mine", "mine", True), ("theirs", "mine", False), ("theirs", None, False), ("", None, False)],
    ids=["ours", "lost", "none", "empty"],
)
async def test_our_lease_ends_with_it_and_no_other(
    publisher: TokenPublisher, here: redis.Redis, held: str, handed: str | None, ends: bool, seen: int
) -> None:
    here.hset(ACCOUNT, "generation", seen)
    here.set(LOCK, held)
    await publisher.put([token(1)], leases={} if handed is None else {"a": (LOCK, handed)})
    assert here.exists(LOCK) == int(not ends)


async def test_what_is_removed_leaves_nothing_and_does_not_come_back(
    publisher: TokenPublisher, here: redis.Redis
) -> None:
    await publisher.put([token(3), Publication("b", AccountState("active", 1), Token("AT", 1))])
    here.set(KEYS.stash("a"), "sealed")
    here.set(LOCK, "somebody")

    await publisher.drop("a", 5)

    assert here.exists(TOKEN, ACCOUNT, LOCK, KEYS.stash("a")) == 0
    assert here.exists(KEYS.token("b"), KEYS.account("b")) == 2
    assert await publisher.put([token(4)]) == await publisher.put([state(4)]) == {"a": 5}
    (removal,) = here.keys("*removed*")
    left_ms: Any = here.pttl(removal)
    assert 0 < left_ms <= REMOVED_KEPT_S * 1000
    assert await publisher.put([token(5)]) == {}


@pytest.mark.parametrize(("seen", "answered"), [(None, {}), (2, {}), (7, {"a": 7})])
async def test_an_answer_is_kept_also_where_redis_is_ahead_of_the_database(
    publisher: TokenPublisher, here: redis.Redis, seen: int | None, answered: dict[str, int]
) -> None:
    """A promoted replica: the refresh token in this answer is the only one that is not spent."""
    if seen is not None:
        here.hset(ACCOUNT, mapping={"generation": seen})
    assert await publisher.put([token(3)], answers={"a": "sealed"}) == answered
    assert here.get(KEYS.answer("a")) == "sealed"
    left_s: Any = here.ttl(KEYS.answer("a"))
    assert 0 < left_s <= KEPT_S


async def test_no_answer_is_kept_of_what_was_removed_until_it_is_added_again(
    publisher: TokenPublisher, here: redis.Redis
) -> None:
    await publisher.drop("a", 5)
    assert await publisher.put([token(4)], answers={"a": "sealed"}) == {"a": 5}
    assert not here.exists(KEYS.answer("a"))
    await publisher.put([token(5)], answers={"a": "sealed"})
    assert here.get(KEYS.answer("a")) == "sealed"


async def test_a_worker_adds_all_events_by_one_script(client: Redis, here: redis.Redis) -> None:
    worker = TokenPublisher(client, KEYS, is_worker=True)
    events = [
        Event(
            type="refreshed", account="a", generation=3, reason="refreshed", at=NOW, labels='{"a": "\u00e9"}'
        ),
        Event(type="degraded", provider="acme", reason="provider_breaker_open", at=NOW),
    ]

    assert await worker.put([token(3)], events, answers={"a": "sealed"}) == {}

    entries: Any = here.xrange(KEYS.events)
    assert [fields for _, fields in entries] == [event.to_fields() for event in events]
    assert here.get(KEYS.answer("a")) == "sealed"


async def test_the_stream_of_events_is_capped(
    publisher: TokenPublisher, here: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.redis.publisher.EVENTS_KEPT", 10)
    await publisher.put([], [Event(type="failed", reason="r", at=NOW, account="a") for _ in range(500)])
    kept: Any = here.xlen(KEYS.events)
    assert 10 <= kept < 500


@pytest.mark.parametrize(("ends_in_s", "published"), [(None, True), (1.0, True), (0.0, False)])
def test_a_token_that_has_ended_is_none(ends_in_s: float | None, published: bool) -> None:
    ends = None if ends_in_s is None else NOW + ends_in_s
    row = Account(
        id="a", provider="p", generation=3, status=Status.DEGRADED, reason="r", status_at=7.0, expires_at=ends
    )
    found = publication(row, Secret("AT"), now=NOW)
    assert found.state == AccountState("degraded", 3, "r", since=7.0)
    assert (found.token == Token("AT", 3, expires_at=ends)) is published
    assert (found.token is not None) is published
    assert publication(row, None, now=NOW).token is None
