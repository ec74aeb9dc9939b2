"""The shared budget, on a real Redis."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from models.budget import Breaker, Limits, Shortage
from worker.io.budget import Budgets, budget_key, hosts_key
from worker.io.redis import connect, connect_async

UNLIMITED = Limits(None, 1000)


@pytest.fixture
async def workers(redis_url: str) -> AsyncIterator[tuple[Budgets, Budgets]]:
    """Two processes' views of the same budgets."""
    clients = [connect_async(redis_url) for _ in range(2)]
    one, other = (Budgets(client, "refreshd:", call_s=45) for client in clients)
    yield one, other
    for budgets, client in zip((one, other), clients, strict=True):
        await budgets.close()
        await client.aclose()


Workers = tuple[Budgets, Budgets]


def attempts(count: int, name: str = "a") -> list[str]:
    return [f"{name}{number}" for number in range(count)]


async def test_without_limits_everything_is_granted(workers: Workers) -> None:
    grant = await workers[0].take("acme", attempts(50), UNLIMITED)
    assert grant.granted == 50


async def test_the_rate_is_shared_by_all_workers(workers: Workers) -> None:
    one, other = workers
    limits = Limits(10.0, 1000)
    first = await one.take("acme", attempts(8), limits)
    second = await other.take("acme", attempts(8, "b"), limits)

    assert first.granted == 8
    assert second.granted in {2, 3}  # a second's worth, and what came back meanwhile
    assert second.shortage == Shortage.SPENT
    assert 0 < second.wait_s <= 0.2


async def test_a_rate_below_one_a_second_still_lets_one_through(workers: Workers) -> None:
    grants = [await workers[0].take("slow", [name], Limits(0.1, 10)) for name in "abc"]
    assert [grant.granted for grant in grants] == [1, 0, 0]
    assert 9 < grants[1].wait_s <= 10


async def test_calls_in_flight_are_shared_and_given_back(workers: Workers) -> None:
    one, other = workers
    limits = Limits(None, 3)
    assert (await one.take("acme", attempts(5), limits)).granted == 3
    assert (await other.take("acme", attempts(5, "b"), limits)).granted == 0

    one.end("acme", "a0")
    await one.close()

    assert (await other.take("acme", attempts(5, "b"), limits)).granted == 1


async def test_a_pause_holds_for_every_worker_and_only_for_its_provider(workers: Workers) -> None:
    one, other = workers
    await one.pause("acme", 30)
    await one.pause("acme", 5)

    grant = await other.take("acme", attempts(5), UNLIMITED)

    assert (grant.granted, grant.shortage) == (0, Shortage.PAUSED)
    assert 25 < grant.wait_s <= 30
    assert (await other.take("other", attempts(5), UNLIMITED)).granted == 5


async def test_an_outage_opens_the_breaker_one_probe_closes_it(workers: Workers, redis_url: str) -> None:
    one, other = workers
    for _ in range(Breaker().threshold):
        await one.down("acme")
    refused = await other.take("acme", attempts(5), UNLIMITED)
    assert (refused.granted, refused.shortage) == (0, Shortage.BREAKER_OPEN)
    assert 0 < refused.wait_s <= 5

    client = connect_async(redis_url)
    await client.hset("refreshd:budget:{acme}:breaker", "until", "0")
    await client.aclose()
    probe = await other.take("acme", attempts(5), UNLIMITED)
    meanwhile = await one.take("acme", attempts(5, "b"), UNLIMITED)
    assert (probe.granted, meanwhile.granted) == (1, 0)
    assert meanwhile.wait_s <= 5, "a probe may be back long before its time is over"

    await other.up("acme")
    await other.close()
    assert (await one.take("acme", attempts(5, "c"), UNLIMITED)).granted == 5


async def test_a_success_in_between_keeps_the_breaker_closed(workers: Workers) -> None:
    one, other = workers
    for _ in range(Breaker().threshold - 1):
        await one.down("acme")
    await other.up("acme")
    await other.close()
    await one.down("acme")
    assert (await other.take("acme", attempts(1), UNLIMITED)).granted == 1


def key(part: str) -> str:
    return budget_key("refreshd:", "acme", part)


async def test_a_call_that_nobody_ended_ends_when_its_time_is_over(workers: Workers, redis_url: str) -> None:
    one, other = workers
    here = connect(redis_url)
    await one.take("acme", attempts(3), Limits(None, 3))
    assert here.pttl(key("in_flight")) > 0
    here.zadd(key("in_flight"), {"a0": 1, "a1": 1})
    assert (await other.take("acme", attempts(5, "b"), Limits(None, 3))).granted == 2


async def test_a_breaker_s_pause_grows_with_each_probe_that_fails_and_has_an_end(
    workers: Workers, redis_url: str
) -> None:
    one, here, breaker = workers[0], connect(redis_url), Breaker()
    opened = [(await one.down("acme")).opened for _ in range(breaker.threshold + 1)]
    assert opened == [0] * (breaker.threshold - 1) + [1, 0], "what still ends meanwhile opens it no further"
    for times in range(2, 12):
        here.hset(key("breaker"), mapping={"until": 0, "again": 0})
        assert (await one.down("acme")).opened == times
        wait_s = (await one.take("acme", attempts(1), UNLIMITED)).wait_s
        longest_s = min(breaker.pause_s * 2 ** (times - 1), breaker.pause_max_s)
        assert longest_s - 10 < wait_s <= longest_s
    assert breaker.pause_max_s < here.pttl(key("breaker")) / 1000


async def test_a_breaker_is_remembered_for_longer_than_its_longest_pause(redis_url: str) -> None:
    client, day_s = connect_async(redis_url), 86_400.0
    budgets = Budgets(client, "refreshd:", call_s=45, breaker=Breaker(threshold=1, pause_max_s=day_s))
    await budgets.down("acme")
    assert day_s < connect(redis_url).pttl(key("breaker")) / 1000
    await client.aclose()


async def test_a_gate_lets_one_probe_through(workers: Workers, redis_url: str) -> None:
    one, other = workers
    assert await one.gates(["acme"]) == {"acme": None}
    for _ in range(Breaker().threshold):
        await one.down("acme")
    closed = (await other.gates(["acme"]))["acme"]
    assert closed is not None
    assert 0 < closed <= Breaker().pause_s
    connect(redis_url).hset(key("breaker"), "until", 0)
    assert await other.gates(["acme"]) == {"acme": 0}
    meanwhile = (await one.gates(["acme"]))["acme"]
    assert meanwhile is not None
    assert meanwhile > 0


async def test_an_outage_outlives_a_success_that_was_not_told_yet(workers: Workers) -> None:
    one, other = workers
    await one.up("acme")
    for _ in range(Breaker().threshold):
        await one.down("acme")
    await one.close()
    assert (await other.take("acme", attempts(1), UNLIMITED)).shortage == Shortage.BREAKER_OPEN


async def test_the_latest_hosts_that_were_left_alone_are_remembered(
    workers: Workers, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.io.budget.HOSTS_KEPT", 2)
    for name in ("p@a", "p@b", "p@a", "p", "p@c"):
        await workers[0].pause(name, 30)
    assert connect(redis_url).lrange(hosts_key("refreshd:"), 0, -1) == ["p@c", "p@a"]
