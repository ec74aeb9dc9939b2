"""The lease, on a real Redis: one worker has it, it ends by itself, and nobody ends or prolongs another's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import redis
import structlog

from refreshd_reader.contract import Keys
from worker.redis.client import connect, connect_async, run
from worker.redis.leases import NOTHING, RENEW_SHARE, Leases, Sealed

KEYS = Keys()
LEASE_MS = 600
#: Longer than any lease: whoever renews it shortens it.
LONG_MS = 600_000


@pytest.fixture
def here(redis_url: str) -> redis.Redis:
    return connect(redis_url)


@pytest.fixture
async def workers(redis_url: str) -> AsyncIterator[tuple[Leases, Leases]]:
    clients = [connect_async(redis_url) for _ in range(2)]
    one, other = (Leases(client, KEYS, lease_s=LEASE_MS / 1000, holder="worker") for client in clients)
    yield one, other
    for leases, client in zip((one, other), clients, strict=True):
        await leases.close()
        await client.aclose()


def left_ms(here: redis.Redis, account: str) -> int:
    left: Any = here.pttl(KEYS.lock(account))
    return int(left)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not holds():
            await asyncio.sleep(LEASE_MS / 1000 * RENEW_SHARE / 10)


async def test_one_worker_has_it_and_is_given_what_is_stashed(
    workers: tuple[Leases, Leases], here: redis.Redis
) -> None:
    one, other = workers
    here.set(KEYS.stash("b"), "sealed")
    assert await one.acquire({"a": 1}) == {"a": NOTHING}
    assert await other.acquire({"a": 1, "b": 1}) == {"b": Sealed("sealed")}
    assert 0 < left_ms(here, "a") <= LEASE_MS, "a process that is gone holds it no longer"
    await one.release(["a"])
    assert await other.acquire({"a": 1}) == {"a": NOTHING}


async def test_the_answer_committed_last_comes_with_it_where_redis_has_seen_a_newer_generation(
    workers: tuple[Leases, Leases], here: redis.Redis
) -> None:
    one, _ = workers
    for account, generation in (("a", 5), ("b", 4), ("c", 5)):
        here.hset(KEYS.account(account), mapping={"generation": generation})
    here.set(KEYS.answer("a"), "committed")
    here.set(KEYS.answer("b"), "committed")
    assert await one.acquire({"a": 4, "b": 4, "c": 4}) == {
        "a": Sealed(None, 5, "committed"),
        "b": NOTHING,
        "c": Sealed(None, 5, None),
    }


async def test_a_lease_that_has_become_somebody_else_s_is_let_alone(
    workers: tuple[Leases, Leases], here: redis.Redis
) -> None:
    """This process was stopped for longer than its lease."""
    one, _ = workers
    await one.acquire({"a": 1, "b": 1, "c": 1})
    here.set(KEYS.lock("a"), "somebody else", px=LONG_MS)
    here.pexpire(KEYS.lock("b"), LONG_MS)

    await until(lambda: left_ms(here, "b") <= LEASE_MS)
    assert left_ms(here, "a") > LEASE_MS, "not renewed"

    await one.release(["a", "b"])
    assert (here.get(KEYS.lock("a")), here.exists(KEYS.lock("b"))) == ("somebody else", 0)
    await one.close()
    assert (here.exists(KEYS.lock("a")), here.exists(KEYS.lock("c"))) == (1, 0)


async def test_a_renewal_that_fails_is_followed_by_others(
    workers: tuple[Leases, Leases], here: redis.Redis
) -> None:
    one, _ = workers
    await one.acquire({"a": 1})
    token = str(here.get(KEYS.lock("a")))
    with structlog.testing.capture_logs() as logs:
        here.delete(KEYS.lock("a"))
        here.rpush(KEYS.lock("a"), "no lease")
        await until(lambda: any(line["event"] == "leases_not_renewed" for line in logs))
    here.delete(KEYS.lock("a"))
    here.set(KEYS.lock("a"), token, px=LONG_MS)
    await until(lambda: left_ms(here, "a") <= LEASE_MS)


async def test_a_lease_that_was_handed_over_is_ended_by_whoever_has_it(
    workers: tuple[Leases, Leases], here: redis.Redis
) -> None:
    one, _ = workers
    await one.acquire({"a": 1})
    key, token = one.hand_over("a")
    assert here.get(key) == token
    await one.release(["a"])
    assert here.get(key) == token
    assert one.hand_over("a") == (key, "")


async def test_leases_left_at_a_redis_that_was_away_are_returned_once_it_is_there(
    workers: tuple[Leases, Leases], here: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that takes over from another has its leases: they would keep every worker off until they end."""
    one, other = workers
    monkeypatch.setattr("worker.redis.leases.RELEASE_AGAIN_S", 0.01)
    one._lease_ms = other._lease_ms = LONG_MS
    await one.acquire({"a": 0, "b": 0})
    handed = {"b": one.hand_over("b")}
    one.take_back(handed)

    async def away(_pipeline: Any) -> list[Any]:
        raise redis.ConnectionError("away")

    with monkeypatch.context() as patched:
        patched.setattr("worker.redis.leases.run", away)
        await one.release(["a", "b"])
    assert here.exists(KEYS.lock("a"), KEYS.lock("b"))

    await until(lambda: not here.exists(KEYS.lock("a"), KEYS.lock("b")))
    assert set(await other.acquire({"a": 0, "b": 0})) == {"a", "b"}


async def test_a_lease_whose_reply_was_lost_is_returned(
    workers: tuple[Leases, Leases], here: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = workers
    monkeypatch.setattr("worker.redis.leases.RELEASE_AGAIN_S", 0.01)
    one._lease_ms = LONG_MS

    async def lost(pipeline: Any, **named: Any) -> list[Any]:
        await run(pipeline, **named)
        raise redis.ConnectionError("gone")

    with monkeypatch.context() as patched:
        patched.setattr("worker.redis.leases.run", lost)
        with pytest.raises(redis.ConnectionError):
            await one.acquire({"a": 0})
    await until(lambda: not here.exists(KEYS.lock("a")))
    assert await other.acquire({"a": 0}) == {"a": NOTHING}
