"""`doctor` never calls whole what leaves readers without a token; on real stores."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from msgspec.structs import replace
from pydantic import SecretStr
from sqlalchemy import text
from structlog.testing import capture_logs

from tests.integration.conftest import Bench
from tests.integration.diagnostics.test_doctor import ALL, checked, execute
from worker.crypto.cipher import generate_key
from worker.db.engine import writing
from worker.db.publication.comparison import CAUSES, Loss, Progress
from worker.diagnostics.doctor import CheckResult, Level
from worker.monitoring.clocks import ClockWatch
from worker.policy.reasons import message_of
from worker.redis.clock_offsets import ClockOffsets
from worker.redis.counts import LiveWorkers
from worker.redis.heartbeats import HEARTBEAT_VALID_S
from worker.settings import Settings


@pytest.fixture
def settings(sqlite_url: str, redis_url: str, tmp_path: Path) -> Settings:
    return Settings(
        database_url=SecretStr(sqlite_url),
        redis_url=SecretStr(redis_url),
        keys=SecretStr(generate_key()),
        data_dir=tmp_path,
    )


def told(settings: Settings, check: str) -> list[CheckResult]:
    return [one for one in checked(settings, LiveWorkers(ALL, beats=1)) if one.check == check]


def planned(bench: Bench, *, ago_s: float) -> None:
    at = time.time() - ago_s
    execute(bench, f"INSERT INTO duty (name, finished_at, until) VALUES ('plan', {at}, 0)")  # noqa: S608


def test_accounts_without_a_good_token_are_counted_by_reason(bench: Bench, settings: Settings) -> None:
    ended = {"expires_at": time.time() - 5, "next_refresh_at": time.time() + 60}
    for number in range(2):
        bench.add(f"throttled-{number}", **ended, status="degraded", reason="rate_limited")
    bench.add("gone", **ended, status="reauthorize", reason="invalid_grant")
    bench.add("new", access_token_sealed=None, expires_at=None)  # it is planned, and was not tried yet
    bench.add("just-now", **ended)
    bench.add("off", **ended, status="disabled")
    bench.add("good", next_refresh_at=time.time() + 60)
    bench.add("refused-yet-alive", next_refresh_at=time.time() + 60, status="misconfigured")
    assert [one.message for one in told(settings, "tokens")] == [
        "2 accounts without a good token (degraded: rate_limited): The provider says that it is asked too often",
        "1 account without a good token (active, ended)",
        "1 account without a good token (reauthorize: invalid_grant): "
        + message_of("invalid_grant").rstrip("."),
    ]


def test_accounts_that_have_been_due_for_long_are_counted(bench: Bench, settings: Settings) -> None:
    bench.add("waits", next_refresh_at=time.time() - 90)
    bench.add("aside", next_refresh_at=time.time() - 900, plan_at=None)
    bench.add("now")
    (found,) = told(settings, "due accounts")
    assert (found.level, found.message[:60]) == (
        Level.WARNING,
        "1 account due for more than 10 s and not refreshed yet, the "[:60],
    )


@pytest.mark.parametrize(
    ("ahead_s", "level", "words"),
    [
        (480.0, Level.FAILED, "The clock of worker@one is 8m ahead of Redis'. Plans and messages go by Redis'"),
        (20.0, Level.WARNING, "20s ahead of Redis'"),
        (-90.0, Level.FAILED, "1m 30s behind Redis'"),
        (-5.0, Level.WARNING, "5s behind Redis'"),
    ],
)  # fmt: skip
def test_a_worker_whose_clock_is_off_is_named_with_what_follows(
    bench: Bench,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    ahead_s: float,
    level: Level,
    words: str,
) -> None:
    offsets = ClockOffsets(bench.runtime.redis, settings.redis_prefix)
    offsets.note("worker@two")
    now = time.time()
    monkeypatch.setattr("worker.redis.heartbeats.Heartbeats.now", lambda _: now)
    monkeypatch.setattr("worker.redis.clock_offsets.wall_clock", lambda: now + ahead_s)
    assert offsets.note("worker@one") == pytest.approx(ahead_s, abs=0.001)
    (found,) = told(settings, "clock")
    assert found.level is level
    assert words in found.message


def test_a_process_that_is_gone_has_no_clock(bench: Bench, settings: Settings) -> None:
    offsets = ClockOffsets(bench.runtime.redis, settings.redis_prefix)
    long_ago = {"at": time.time() - HEARTBEAT_VALID_S - 5, "ahead_s": 90.0}
    bench.runtime.redis.hset("refreshd:clocks", "killed@one", json.dumps(long_ago))
    bench.runtime.redis.hset("refreshd:clocks", "newer@one", "[]")
    assert offsets.all() == {}
    offsets.note("worker@one")
    assert set(bench.runtime.redis.hkeys("refreshd:clocks")) == {"newer@one", "worker@one"}
    offsets.withdraw("worker@one")
    assert offsets.all() == {}


def test_a_clock_that_was_set_back_is_named(bench: Bench, settings: Settings) -> None:
    """The plan before it lies in the future, and so do the attempts, when plans are made again."""
    planned(bench, ago_s=-3556)
    (found,) = told(settings, "clock")
    assert found.message.startswith("the last plan lies 59m ")
    assert found.message.endswith("in the future: the database's clock was set back by that; 1 beat is alive")
    assert told(settings, "beat") == []
    bench.add()
    bench.refresh()
    execute(bench, "UPDATE attempt SET opened_at = opened_at + 3556")
    execute(bench, "DELETE FROM duty")
    planned(bench, ago_s=0)
    (found,) = told(settings, "clock")
    assert found.message.startswith("the latest attempt lies 59m ")
    assert [one.level for one in told(settings, "beat")] == [Level.OK]


def test_a_process_says_in_redis_and_once_in_its_log_that_its_clock_is_off(
    bench: Bench, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    offsets = ClockOffsets(bench.runtime.redis, settings.redis_prefix)
    watch = ClockWatch("worker@one", offsets)
    monkeypatch.setattr("worker.redis.clock_offsets.wall_clock", lambda: time.time() + 480)
    with capture_logs() as lines:
        watch.look()
        watch.look()
    assert [(line["event"], line["of"], round(line["seconds"])) for line in lines] == [
        ("clock_skew", "worker@one", 480)
    ]
    watch.start()
    watch.stop()
    assert offsets.all() == {}


def test_what_redis_had_lost_is_named_with_why(bench: Bench, settings: Settings) -> None:
    bench.add(expires_at=time.time() + 600)
    runtime = bench.runtime
    runtime.run(runtime.reconciler.reconcile())
    runtime.run(runtime.comparison.step())
    (found,) = told(settings, "redis content")
    assert (found.level, found.message.partition(" compared")[0]) == (Level.OK, "1 account")
    for why, because in CAUSES.items():
        loss = Loss(7, why, runtime.clock.now() - 300, tuple("abcdefg"))
        with writing(runtime.engine) as connection:
            connection.execute(
                text("UPDATE duty SET note = :note WHERE name = 'comparison'"),
                {"note": replace(Progress(), loss=loss).to_note()},
            )
        (found,) = told(settings, "redis content")
        assert found.level is Level.WARNING
        words = f"5m ago, Redis lacked what was published of 7 accounts (a, b, c, d, e, ...): {because}"
        assert words in found.message
        assert found.message.endswith("It was published again")
        assert "not_published" not in (found.hint or "")
        assert found.hint
    lacking = Loss(1, why, runtime.clock.now() - 300, ("acct",))
    with writing(runtime.engine) as connection:
        connection.execute(
            text("UPDATE duty SET note = :note WHERE name = 'comparison'"),
            {"note": replace(Progress(), loss=lacking).to_note()},
        )
        connection.execute(text("UPDATE account SET published_generation = -1"))
    (found,) = told(settings, "redis content")
    assert found.message.endswith("Redis lacks acct at this moment")
    assert "not_published" in (found.hint or "")
