"""What Redis lost without being emptied is found by comparison, and published again from SQL."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from models.redis_info import RedisInfo
from tests.integration.conftest import Bench
from tests.support.services import RedisServer
from worker.db.publication.comparison import DELETED, EVICTED, ROLLING, TAKEN_OVER, ComparisonStore, Progress
from worker.db.repair.restore import raise_generations
from worker.scheduling.comparison import Compared

ACCOUNTS = 7
HOUR_S = 3600.0


@pytest.fixture
def filled(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """Some accounts whose tokens are published, and a comparison that has seen them all; batches are small."""
    monkeypatch.setattr("worker.scheduling.comparison.BATCH", 3)
    for number in range(ACCOUNTS):
        bench.add(f"a-{number}", expires_at=bench.runtime.clock.now() + HOUR_S)
    bench.runtime.run(bench.runtime.reconciler.reconcile())
    assert step(bench) == Compared(ACCOUNTS, 0, ROLLING)
    return bench


def step(bench: Bench) -> Compared | None:
    return bench.runtime.run(bench.runtime.comparison.step())


def mended(bench: Bench) -> int:
    """Publish what the database knows Redis to lack, and return how much."""
    done = bench.runtime.run(bench.runtime.reconciler.reconcile())
    assert done is not None
    assert not done.refilled
    return done.published


def progress(bench: Bench) -> Progress:
    return ComparisonStore(bench.runtime.engine).state().progress


def forget_last_round(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the time between two rounds of a small fleet, two steps and two looks be over."""
    for pause in ("ROUND_EVERY_S", "ROLLING_EVERY_S", "LOOK_EVERY_S"):
        monkeypatch.setattr(f"worker.scheduling.comparison.{pause}", 0.0)


def look_like_another_server(monkeypatch: pytest.MonkeyPatch) -> None:
    look_like(monkeypatch, RedisInfo("another"))


def look_like(monkeypatch: pytest.MonkeyPatch, server: RedisInfo) -> None:
    async def look_at(_redis: Any) -> RedisInfo:
        return server

    monkeypatch.setattr("worker.scheduling.comparison.look_at", look_at)


def test_a_fleet_that_was_compared_a_moment_ago_is_left_alone(filled: Bench) -> None:
    assert not filled.runtime.run(filled.runtime.comparison.needed())
    assert step(filled) == Compared()


@pytest.mark.parametrize("kind", ["token", "account"])
def test_a_deleted_key_is_published_again_by_the_next_round(
    filled: Bench, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled.runtime.redis.delete(getattr(filled.runtime.keys, kind)("a-3"))
    forget_last_round(monkeypatch)

    assert filled.runtime.run(filled.runtime.comparison.needed())
    assert step(filled) == Compared(ACCOUNTS, 1, ROLLING)
    assert mended(filled) == 1

    token, state = filled.token("a-3"), filled.state("a-3")
    assert token is not None
    assert state is not None
    assert not filled.requests, "nothing is refreshed"
    loss = progress(filled).loss
    assert loss is not None
    assert (loss.accounts, loss.why, loss.some) == (1, ROLLING, ("a-3",))


def test_a_token_of_an_older_generation_is_replaced_at_once_after_a_failover(
    filled: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A replica that lagged has what was published before."""
    with filled.runtime.engine.begin() as connection:
        connection.exec_driver_sql(
            "UPDATE account SET generation = 2, published_generation = 2 WHERE id = 'a-5'"
        )
    look_like_another_server(monkeypatch)

    assert filled.runtime.run(filled.runtime.comparison.needed())
    assert step(filled) == Compared(ACCOUNTS, 1, TAKEN_OVER)
    assert mended(filled) == 1

    token = filled.token("a-5")
    assert token is not None
    assert token.generation == 2
    assert progress(filled).loss is not None
    assert progress(filled).server.id == "another"


def test_a_step_ends_in_time_and_the_next_one_goes_on_behind_it(
    filled: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    look_like_another_server(monkeypatch)
    monkeypatch.setattr("worker.scheduling.comparison.STEP_S", 0.0)

    steps = [step(filled) for _ in range(3)]

    assert steps == [Compared(3, 0, TAKEN_OVER), Compared(3, 0, TAKEN_OVER), Compared(1, 0, TAKEN_OVER)]
    last = progress(filled).last
    assert last is not None
    assert (last.accounts, last.missing) == (ACCOUNTS, 0)


def test_a_token_that_has_ended_and_one_that_was_never_there_are_not_missed(
    filled: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = filled.runtime.clock.now()
    filled.add("ended", expires_at=now - 1)
    filled.add("without", access_token_sealed=None, expires_at=None)
    filled.runtime.run(filled.runtime.reconciler.reconcile())
    forget_last_round(monkeypatch)
    assert step(filled) == Compared(ACCOUNTS + 2, 0, ROLLING)


def test_a_newer_token_in_redis_survives_a_restored_database(
    filled: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its generation was raised above what Redis has, and its own token is the older one."""
    keys, redis = filled.runtime.keys, filled.runtime.redis
    newer: dict[Any, Any] = {
        "access_token": "newer",
        "issued_at": filled.runtime.clock.now(),
        "generation": 9,
    }
    redis.hset(keys.token("a-1"), mapping=newer)
    redis.hset(keys.account("a-1"), "generation", 9)
    assert raise_generations(filled.runtime.engine, redis, keys) == 1
    forget_last_round(monkeypatch)

    assert step(filled) == Compared(ACCOUNTS, 0, ROLLING)
    assert redis.hget(keys.token("a-1"), "access_token") == "newer"


def test_another_process_that_compares_is_left_alone(filled: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    forget_last_round(monkeypatch)
    lock = filled.runtime._lock("comparison", 30)
    lock.holder = "another"
    assert lock.take()
    assert not filled.runtime.run(filled.runtime.comparison.needed())
    assert step(filled) is None


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_evicted_keys_begin_a_round_at_once(filled: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    look_like(monkeypatch, replace(progress(filled).server, evicted=12))
    assert filled.runtime.run(filled.runtime.comparison.needed())
    assert step(filled) == Compared(ACCOUNTS, 0, EVICTED)
    assert not filled.runtime.run(filled.runtime.comparison.needed())


def test_many_keys_fewer_begin_a_round_at_once(filled: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """They were deleted, by hand or by a program; the server's ids and its evictions are what they were."""
    monkeypatch.setattr("worker.db.publication.comparison.DELETED_MIN", 3)
    keys = filled.runtime.keys
    filled.runtime.redis.delete(*(keys.token(f"a-{number}") for number in range(4)))

    assert filled.runtime.run(filled.runtime.comparison.needed())
    assert step(filled) == Compared(ACCOUNTS, 4, DELETED)
    assert mended(filled) == 4
    assert not filled.runtime.run(filled.runtime.comparison.needed())


def test_keys_whose_time_was_over_are_not_missed(filled: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.db.publication.comparison.DELETED_MIN", 3)
    seen = progress(filled).server
    for fewer, expired, begins in ((3, 0, True), (3, 1, False), (4, 1, True), (2, 0, False), (-9, 0, False)):
        look_like(monkeypatch, replace(seen, keys=seen.keys - fewer, expired=seen.expired + expired))
        filled.runtime.comparison._look_again_at = 0.0
        assert filled.runtime.run(filled.runtime.comparison.needed()) == begins, (fewer, expired)


def test_what_is_lost_during_a_hasty_round_begins_another_when_it_has_ended(
    filled: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = progress(filled).server
    look_like(monkeypatch, replace(seen, evicted=5))
    monkeypatch.setattr("worker.scheduling.comparison.STEP_S", 0.0)
    assert step(filled) == Compared(3, 0, EVICTED)
    look_like(monkeypatch, replace(seen, evicted=8))
    assert [step(filled) for _ in range(2)] == [Compared(3, 0, EVICTED), Compared(1, 0, EVICTED)]

    assert filled.runtime.run(filled.runtime.comparison.needed())
    assert step(filled) == Compared(3, 0, EVICTED), "from the first account on"


def test_a_slow_round_makes_a_part_now_and_then(filled: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.scheduling.comparison.ROLLING_STEP", 3)
    monkeypatch.setattr("worker.scheduling.comparison.LOOK_EVERY_S", 0.0)
    monkeypatch.setattr("worker.scheduling.comparison.ROUND_EVERY_S", 0.0)
    needed = filled.runtime.comparison.needed

    assert filled.runtime.run(needed())
    assert step(filled) == Compared(3, 0, ROLLING)
    assert not filled.runtime.run(needed()), "it made a step a moment ago"
    monkeypatch.setattr("worker.scheduling.comparison.ROLLING_EVERY_S", 0.0)
    assert filled.runtime.run(needed())
    assert [step(filled), step(filled)] == [Compared(3, 0, ROLLING), Compared(1, 0, ROLLING)]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_server_that_was_restarted_is_another_one(tmp_path: Path, database_url: str) -> None:
    """The real ids: of the run, and of the replication."""
    from pydantic import SecretStr

    from worker.crypto.cipher import generate_key
    from worker.settings import Settings

    server = RedisServer(tmp_path)
    server.start()
    made = Bench(
        Settings(
            database_url=SecretStr(database_url),
            redis_url=SecretStr(server.url),
            keys=SecretStr(generate_key()),
            data_dir=tmp_path,
        )
    )
    try:
        made.runtime.run(made.runtime.reconciler.reconcile())
        assert step(made) == Compared(0, 0, ROLLING)
        server.kill()
        server.start()
        assert made.runtime.run(made.runtime.comparison.needed())
        assert step(made) == Compared(0, 0, TAKEN_OVER)
    finally:
        made.runtime.close()
        server.stop()


@pytest.mark.parametrize("note", ["", "no JSON", '{"server": 1, "unknown": 2}', '{"last": {}}', "[]"])
def test_a_note_of_another_release_begins_anew(note: str) -> None:
    assert Progress.of(note).last is None
