"""After a promotion or a restored backup: the answers that Redis keeps of lost commits stay until they are stored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from sqlalchemy import text
from structlog.testing import capture_logs

from tests.integration.conftest import Bench
from tests.integration.refresh.test_late_answers import refused, sealed_answer
from worker.db.engine import is_sqlite, writing
from worker.db.repair import lost_commits
from worker.db.repair.lost_commits import (
    LOCK,
    compare,
    keep_after_promotion,
    keep_lost_answers,
    lineage,
    searched,
)
from worker.db.repair.restore import raise_generations
from worker.diagnostics.doctor import Level
from worker.diagnostics.doctor.lost_commits import check_lost_commits
from worker.policy.reasons.done import LOST_COMMIT_ADOPTED

SECONDS = 500


def redis_has(bench: Bench, generation: int, *, answer: bool = True) -> None:
    """Have Redis hold what was published of a commit that the database lost."""
    redis, keys, now = bench.runtime.redis, bench.runtime.keys, bench.runtime.clock.now()
    redis.hset(keys.account("acct"), mapping={"status": "active", "generation": generation})
    if answer:
        sealed = sealed_answer(bench, "live", follows=generation - 1, issued_at=now)
        redis.set(keys.answer("acct"), sealed, ex=SECONDS)


def keep(bench: Bench) -> int:
    return keep_lost_answers(bench.runtime.engine, bench.runtime.redis, bench.runtime.keys)


def promoted(bench: Bench) -> int:
    here = bench.runtime
    return keep_after_promotion(here.engine, here.redis, here.keys, holder="test")


def ttl(bench: Bench) -> int:
    left: Any = bench.runtime.redis.ttl(bench.runtime.keys.answer("acct"))
    return int(left)


def test_an_answer_whose_commit_was_lost_stays_and_its_account_is_due_now(bench: Bench) -> None:
    """A forced refresh was lost: the old row is due in an hour, when the answer would be gone."""
    later = bench.runtime.clock.now() + 3000
    bench.add(generation=3, published_generation=3, next_refresh_at=later, plan_at=later)
    redis_has(bench, 4)

    assert keep(bench) == 1
    assert keep(bench) == 1

    row = bench.account()
    assert ttl(bench) == -1
    assert row.next_refresh_at is not None
    assert row.next_refresh_at < later - 2000
    assert row.plan_at == row.next_refresh_at
    bench.answer = refused
    assert bench.refresh(seen=3)["acct"].reason == LOST_COMMIT_ADOPTED
    assert (bench.refresh_token(), bench.requests) == ("live", [])


def test_an_answer_whose_commit_is_there_is_forgotten_in_its_time(bench: Bench) -> None:
    bench.add(generation=4, published_generation=4)
    redis_has(bench, 4)

    assert keep(bench) == 0
    assert 0 < ttl(bench) <= SECONDS


def test_the_command_after_a_restore_leaves_such_a_row_to_its_answer(bench: Bench) -> None:
    bench.add(generation=3, published_generation=3)
    redis_has(bench, 9)

    keep(bench)
    assert raise_generations(bench.runtime.engine, bench.runtime.redis, bench.runtime.keys) == 0
    bench.answer = refused
    result = bench.refresh(seen=3)["acct"]

    assert (result.reason, result.generation, bench.refresh_token()) == (LOST_COMMIT_ADOPTED, 10, "live")


def test_a_worker_notices_a_promotion_by_the_database_s_timeline(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.add(generation=3, published_generation=3)
    names = iter(["7/00000001", "7/00000001", "7/00000002"])
    monkeypatch.setattr(lost_commits, "lineage", lambda _: next(names))
    assert promoted(bench) == 0
    redis_has(bench, 4)
    assert promoted(bench) == 0, "nothing has changed: no pass over Redis"
    assert ttl(bench) > 0

    with capture_logs() as logs:
        assert promoted(bench) == 1

    assert ttl(bench) == -1
    (line,) = logs
    assert (line["event"], line["accounts_behind_redis"]) == ("database_history_changed", 1)
    assert searched(bench.runtime.engine)[:2] == ("7/00000002", 1)


def test_postgresql_names_its_history_and_sqlite_has_none(bench: Bench) -> None:
    found = lineage(bench.runtime.engine)
    if is_sqlite(bench.runtime.engine):
        assert found is None
        assert promoted(bench) == 0
    else:
        assert found is not None
        assert found.endswith("/00000001")


def messages(bench: Bench) -> Sequence[tuple[Level, str]]:
    return [(one.level, one.message) for one in check_lost_commits(bench.runtime)]


@pytest.mark.parametrize("answer", [True, False])
def test_doctor_counts_rows_that_are_older_than_redis(bench: Bench, answer: bool) -> None:
    bench.add(generation=3, published_generation=3)
    assert not messages(bench)
    redis_has(bench, 9, answer=answer)

    ((level, words),) = messages(bench)

    assert level is Level.WARNING
    assert words.startswith(
        "1 of the 1 accounts that are due first are older in the database than in Redis (acct: "
    )
    assert f"keeps the answers of {int(answer)} of them" in words
    assert compare(bench.runtime.engine, bench.runtime.redis, bench.runtime.keys).rows == {"acct": (3, 9)}


def test_doctor_says_what_the_search_after_a_promotion_found(bench: Bench) -> None:
    with writing(bench.runtime.engine) as connection:
        connection.execute(
            text("INSERT INTO duty (name, until, finished_at, note) VALUES (:name, 0, :at, '7/0000000B 39')"),
            {"name": LOCK, "at": bench.runtime.clock.now()},
        )

    level, words = messages(bench)[0]

    assert level is Level.OK
    assert "(timeline 11)" in words
    assert "39 accounts were behind" in words
