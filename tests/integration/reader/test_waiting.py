"""`wait_for`, `report_rejected` and `replacement`: from a refused token to the next one."""

from __future__ import annotations

import asyncio
import time

import pytest
import redis

from refreshd_reader import (
    AccountState,
    Disabled,
    Misconfigured,
    NoUsableToken,
    Reauthorize,
    RedisUnreachable,
    Rejection,
    WaitTimedOut,
)
from refreshd_reader.contract import REJECTED_MAXLEN
from refreshd_reader.redis import announcements as hub
from tests.integration.reader.publisher import Face, MakeFace, Publisher, until
from tests.support.services import RedisServer, free_port


async def test_an_existing_newer_token_is_returned_at_once(face: Face, publisher: Publisher) -> None:
    publisher.publish("acct-1", 8)
    assert (await face.wait_for("acct-1", newer_than=7, timeout_s=0)).generation == 8


@pytest.mark.parametrize("cache_size", [0, 10])
async def test_a_wait_ends_with_the_announcement(
    make_face: MakeFace, publisher: Publisher, cache_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not with the next look: those are made so rare here that the wait would fail."""
    monkeypatch.setattr("refreshd_reader._sync.reader.LOOK_AGAIN_S", 60)
    monkeypatch.setattr("refreshd_reader._async.reader.LOOK_AGAIN_S", 60)
    face = make_face(cache_size=cache_size)
    publisher.publish("acct-1", 7)
    await face.get("acct-1")
    waits = [asyncio.create_task(face.wait_for("acct-1", newer_than=7, timeout_s=30)) for _ in range(5)]
    await until(lambda: publisher.subscribers() == 1)
    publisher.publish("acct-2", 8)
    publisher.publish("acct-1", 8)
    assert {token.generation for token in await asyncio.gather(*waits)} == {8}
    assert (await face.get("acct-1")).generation == 8


async def test_a_lost_announcement_costs_half_a_second(face: Face, publisher: Publisher) -> None:
    publisher.publish("acct-1", 7)
    wait = asyncio.create_task(face.wait_for("acct-1", newer_than=7, timeout_s=30))
    await until(lambda: publisher.subscribers() == 1)
    publisher.publish("acct-1", 8, announce=False)
    assert (await wait).generation == 8


async def test_a_wait_that_times_out_raises(face: Face, publisher: Publisher) -> None:
    publisher.publish("acct-1", 7)
    with pytest.raises(
        WaitTimedOut, match=r"acct-1: no token newer than generation 7 within 0\.1 s"
    ) as raised:
        await face.wait_for("acct-1", newer_than=7, timeout_s=0.1)
    assert raised.value.status == "active"


async def test_a_first_token_can_be_waited_for(face: Face, publisher: Publisher) -> None:
    wait = asyncio.create_task(face.wait_for("acct-1", newer_than=0, timeout_s=30))
    await until(lambda: publisher.subscribers() == 1)
    publisher.publish("acct-1", 1)
    assert (await wait).generation == 1


@pytest.mark.parametrize(
    ("status", "error"),
    [("reauthorize", Reauthorize), ("misconfigured", Misconfigured), ("disabled", Disabled)],
)
async def test_a_wait_ends_at_once_for_a_status_that_only_a_person_can_change(
    face: Face, publisher: Publisher, status: str, error: type[NoUsableToken]
) -> None:
    publisher.publish("acct-1", 7)
    wait = asyncio.create_task(face.wait_for("acct-1", newer_than=7, timeout_s=30))
    await until(lambda: publisher.subscribers() == 1)
    publisher.state("acct-1", AccountState(status, 7, "because"))
    with pytest.raises(error):
        await wait


async def test_a_wait_outlasts_an_absent_redis(
    make_face: MakeFace, publisher: Publisher, own_server: RedisServer
) -> None:
    own = redis.Redis.from_url(own_server.url, decode_responses=True)
    theirs = Publisher(own, publisher.keys.prefix)
    theirs.publish("acct-1", 7)
    face = make_face(url=own_server.url, timeout_s=0.5)
    wait = asyncio.create_task(face.wait_for("acct-1", newer_than=7, timeout_s=30))
    await until(lambda: theirs.subscribers() == 1)
    own_server.kill()
    own.close()
    own_server.start()
    theirs.publish("acct-1", 8)
    own.close()
    assert (await wait).generation == 8


async def test_a_wait_without_redis_raises_redis_unreachable(make_face: MakeFace) -> None:
    face = make_face(url=f"redis://127.0.0.1:{free_port()}/0", timeout_s=0.2)
    with pytest.raises(RedisUnreachable):
        await face.wait_for("acct-1", newer_than=7, timeout_s=0.3)


async def test_an_unused_subscription_ends(
    face: Face, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And is there again for the next who waits."""
    monkeypatch.setattr(hub, "LINGER_S", 0.0)
    monkeypatch.setattr(hub, "HEARTBEAT_S", 0.05)
    publisher.publish("acct-1", 7)
    for generation in (8, 9):
        wait = asyncio.create_task(face.wait_for("acct-1", newer_than=generation - 1, timeout_s=30))
        await until(lambda: publisher.subscribers() == 1)
        publisher.publish("acct-1", generation)
        await wait
        await until(lambda: publisher.subscribers() == 0)


async def test_a_report_names_account_generation_and_status(face: Face, publisher: Publisher) -> None:
    await face.report_rejected("acct-1", 7, 401)
    await face.report_rejected("Acct-2", 3, 403)
    assert publisher.reports() == [Rejection("acct-1", 7, 401), Rejection("Acct-2", 3, 403)]


async def test_reports_that_nobody_reads_are_bounded(
    face: Face, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Approximately: Redis trims whole nodes of its tree (100 entries by default)."""
    assert REJECTED_MAXLEN == 100_000
    monkeypatch.setattr("refreshd_reader._sync.reader.REJECTED_MAXLEN", 50)
    monkeypatch.setattr("refreshd_reader._async.reader.REJECTED_MAXLEN", 50)
    for _ in range(400):
        await face.report_rejected("acct-1", 7, 401)
    assert 50 <= publisher.client.xlen(publisher.keys.rejected) <= 150


async def test_a_replacement_is_reported_and_waited_for(face: Face, publisher: Publisher) -> None:
    publisher.publish("acct-1", 7)
    wait = asyncio.create_task(face.replacement("acct-1", 7, 401, 30))
    await until(lambda: len(publisher.reports()) == 1)
    publisher.publish("acct-1", 8)
    newer = await wait
    assert newer is not None
    assert newer.generation == 8


async def test_who_comes_late_reports_nothing(face: Face, publisher: Publisher) -> None:
    publisher.publish("acct-1", 8)
    newer = await face.replacement("acct-1", 7, 401)
    assert newer is not None
    assert newer.generation == 8
    assert publisher.reports() == []


async def test_no_replacement_is_none(face: Face, publisher: Publisher, make_face: MakeFace) -> None:
    publisher.publish("acct-1", 7)
    assert await face.replacement("acct-1", 7, 401, 0.05) is None
    publisher.state("acct-1", AccountState("reauthorize", 7, "invalid_grant"))
    started_at = time.monotonic()
    assert await face.replacement("acct-1", 7, 401, 30) is None
    assert time.monotonic() - started_at < 30
    absent = make_face(url=f"redis://127.0.0.1:{free_port()}/0", timeout_s=0.2)
    assert await absent.replacement("acct-1", 7, 401, 0.05) is None


async def test_a_refused_token_is_not_served_from_the_cache(
    make_face: MakeFace, publisher: Publisher
) -> None:
    """Even if the announcement of the newer one was lost."""
    face = make_face(cache_size=10)
    publisher.publish("acct-1", 7)
    await until(lambda: publisher.subscribers() == 0)
    await face.get("acct-1")
    await until(lambda: publisher.subscribers() == 1)
    await face.get("acct-1")
    publisher.publish("acct-1", 8, announce=False)
    newer = await face.replacement("acct-1", 7, 401)
    assert newer is not None
    assert (await face.get("acct-1")).generation == 8
