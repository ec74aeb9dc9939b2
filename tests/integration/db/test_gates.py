"""The shared state of gates, rates and calls in flight, on a real Redis."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import pytest
from msgspec.structs import replace

from models.rate_limit import Limits, WaitReason
from worker.policy.gate_signals import Signal, record
from worker.policy.gates import OPENING_S, Failure, Gate
from worker.policy.lane import Lane
from worker.redis.client import connect, connect_async
from worker.redis.gates import Decided, Gates, Granted, Pair, Take, gate_key, read_gates

UNLIMITED = Limits(None, 1000)
LANE = Lane("https://idp.example", "client-1", "acme")
OTHER_CLIENT = Lane("https://idp.example", "client-2", "acme")
ELSEWHERE = Lane("https://other.example", "client-1", "acme")

Workers = tuple[Gates, Gates]


@pytest.fixture
async def workers(redis_url: str) -> AsyncIterator[Workers]:
    """Two processes' views of the same gates."""
    clients = [connect_async(redis_url) for _ in range(2)]
    one, other = (Gates(client, "refreshd:", call_s=45) for client in clients)
    yield one, other
    for gates, client in zip((one, other), clients, strict=True):
        await gates.close()
        await client.aclose()


def attempts(count: int, name: str = "a") -> list[str]:
    return [f"{name}{number}" for number in range(count)]


async def take(
    gates: Gates, ids: Sequence[str], limits: Limits = UNLIMITED, lane: Lane = LANE, certain: int = 0
) -> Granted:
    (taken,) = await gates.take([Take(lane, limits, lambda pair: Decided(pair, ids, certain))])
    return taken


def down(account: str) -> Failure:
    return Failure(account=account, cause=WaitReason.DOWN, reason="r", proven=True, now=1.0)


async def fail(gates: Gates, account: str, lane: Lane = LANE) -> tuple[Pair, Pair]:
    return await gates.record(lane, lambda pair: record(*pair, Signal.DOWN, down(account), 0))


async def test_without_limits_everything_is_granted(workers: Workers) -> None:
    assert (await take(workers[0], attempts(50))).granted == 50


async def test_a_rate_is_shared_by_all_workers(workers: Workers) -> None:
    limits = Limits(10.0, 1000)
    first = await take(workers[0], attempts(8), limits)
    second = await take(workers[1], attempts(8, "b"), limits)

    assert first.granted == 8
    assert second.granted in {2, 3}  # a second's worth, and what came back meanwhile
    assert 0 < second.wait_s <= 0.2


async def test_a_rate_below_one_a_second_still_lets_one_through(workers: Workers) -> None:
    taken = [await take(workers[0], [name], Limits(0.1, 10)) for name in "abc"]
    assert [one.granted for one in taken] == [1, 0, 0]
    assert 9 < taken[1].wait_s <= 10


async def test_what_is_certain_passes_a_rate_that_is_used_up_and_counts_against_it(workers: Workers) -> None:
    limits = Limits(0.1, 10)
    await take(workers[0], ["a"], limits)
    assert (await take(workers[0], ["b", "c"], limits, certain=1)).granted == 1
    assert (await take(workers[0], ["d"], limits)).wait_s > 10


async def test_calls_in_flight_are_shared_and_given_back(workers: Workers) -> None:
    one, other = workers
    limits = Limits(None, 3)
    assert (await take(one, attempts(5), limits)).granted == 3
    assert (await take(other, attempts(5, "b"), limits)).granted == 0

    one.ended(LANE, "a0")
    await one.close()

    assert (await take(other, attempts(5, "b"), limits)).granted == 1


async def test_calls_of_a_worker_that_is_gone_end_by_themselves(redis_url: str, workers: Workers) -> None:
    client = connect_async(redis_url)
    gone = Gates(client, "refreshd:", call_s=0)
    await take(gone, attempts(3), Limits(None, 3))
    assert (await take(workers[0], ["b"], Limits(None, 3))).granted == 1
    await client.aclose()


async def test_limits_hold_for_one_origin_and_are_shared_by_its_clients(workers: Workers) -> None:
    limits = Limits(None, 2)
    await take(workers[0], attempts(2), limits)
    assert (await take(workers[0], ["b"], limits, lane=OTHER_CLIENT)).granted == 0
    assert (await take(workers[0], ["c"], limits, lane=ELSEWHERE)).granted == 1


async def test_evidence_of_two_workers_adds_up(workers: Workers) -> None:
    one, other = workers
    await fail(one, "a")
    await fail(other, "b")
    _, (origin, _) = await fail(one, "c")
    assert origin.is_closed(1.0)


async def test_whoever_decided_on_an_older_gate_decides_again(workers: Workers) -> None:
    one, other = workers
    await take(one, ["first"])
    for account in "abc":
        await fail(other, account)
    seen: list[bool] = []

    def decide(pair: Pair) -> Decided:
        seen.append(pair[0].is_closed(1.0))
        return Decided(pair, [] if seen[-1] else ["second"])

    (taken,) = await one.take([Take(LANE, UNLIMITED, decide)])

    assert seen == [False, True]
    assert taken.granted == 0


async def test_a_success_opens_what_another_worker_closed(workers: Workers, redis_url: str) -> None:
    one, other = workers
    for account in "abc":
        await fail(other, account)
    one.succeeded(LANE, sent_at=2.0)
    await one.close()
    client = connect(redis_url)
    assert read_gates(client, "refreshd:", [LANE.origin]) == {LANE.origin: Gate(opened_at=2.0)}
    other.succeeded(LANE, sent_at=2.0 + OPENING_S)
    await other.close()
    assert not client.exists(gate_key("refreshd:", LANE.origin))
    client.close()


async def test_a_success_that_comes_while_redis_is_told_of_another_is_told_too(workers: Workers) -> None:
    one, other = workers
    for account in "abc":
        await fail(other, account, ELSEWHERE)
    one.ended(LANE, "a")
    one.succeeded(LANE, sent_at=2.0)
    one.succeeded(ELSEWHERE, sent_at=2.0)
    await one.close()
    assert not (await fail(other, "d", ELSEWHERE))[1][0].is_closed(1.0)


async def test_a_pause_outlasts_the_success_of_a_call_that_was_sent_before(workers: Workers) -> None:
    one, other = workers
    paused = replace(down("a"), cause=WaitReason.THROTTLED, now=5.0)
    await other.record(LANE, lambda pair: record(*pair, Signal.THROTTLED, paused, 60))
    one.succeeded(LANE, sent_at=4.0)
    await one.close()
    _, (_, client) = await fail(other, "b")
    assert client.is_closed(6.0)


async def test_a_group_of_many_lanes_takes_one_round_trip_s_answer_each(workers: Workers) -> None:
    lanes = [Lane(f"https://t{number}.example", "c", "acme") for number in range(20)]
    taken = await workers[0].take(
        [Take(lane, Limits(1.0, 10), lambda pair: Decided(pair, ["x", "y"])) for lane in lanes]
    )
    assert [one.granted for one in taken] == [1] * 20


def test_keys_of_one_origin_share_a_hash_tag() -> None:
    assert gate_key("refreshd:", LANE.origin) == "refreshd:gate:{https://idp.example}"
    assert gate_key("refreshd:", LANE.gates[1]) == "refreshd:gate:{https://idp.example}|client:client-1"
