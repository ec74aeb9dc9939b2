"""Execution history is kept for a time and a number."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine
from sqlmodel import Session, select

from models.tables.attempt import Attempt
from worker.db.engine import database_now, reading
from worker.db.records.history import History

HOUR_S = 3600.0


def write(engine: Engine, account: str, ages_s: list[float], *, closed: bool = True) -> None:
    with reading(engine) as connection:
        now = database_now(connection)
    with Session(engine) as session:
        for age_s in ages_s:
            at = now - age_s
            session.add(
                Attempt(
                    id=f"{account}-{age_s}-{closed}", account_id=account, trigger="planned", opened_at=at,
                    closed_at=at if closed else None, generation=1, config_version=1,
                )
            )  # fmt: skip
        session.commit()


def ages(engine: Engine, account: str) -> list[float]:
    with Session(engine) as session:
        found = session.exec(select(Attempt).where(Attempt.account_id == account)).all()
    return sorted(float(attempt.id.split("-")[1]) for attempt in found)


def prune(engine: Engine, *, keep: int = 100, batch: int = 10_000) -> int:
    return History(engine).prune(
        older_than_s=10 * HOUR_S, keep_per_account=keep, busy_within_s=HOUR_S, batch=batch
    )


def test_what_is_too_old_goes_however_much_there_is(engine: Engine) -> None:
    write(engine, "a", [1.0, 9 * HOUR_S, *(11 * HOUR_S + n for n in range(5))])
    assert prune(engine, batch=2) == 5
    assert ages(engine, "a") == [1.0, 9 * HOUR_S]


def test_an_attempt_that_is_open_stays(engine: Engine) -> None:
    write(engine, "a", [11 * HOUR_S], closed=False)
    write(engine, "a", [1.0, 2.0, 3.0])
    assert prune(engine, keep=2) == 1
    assert ages(engine, "a") == [1.0, 2.0, 11 * HOUR_S]


@pytest.mark.parametrize("batch", [1, 10_000])
def test_each_busy_account_keeps_its_newest(engine: Engine, batch: int) -> None:
    write(engine, "a", [1.0, 2.0, 3.0, 4.0, 5.0])
    write(engine, "b", [1.0, 2 * HOUR_S, 3 * HOUR_S])
    write(engine, "few", [1.0])
    assert prune(engine, keep=2, batch=batch) == 4
    assert [ages(engine, name) for name in ("a", "b", "few")] == [[1.0, 2.0], [1.0, 2 * HOUR_S], [1.0]]


def test_an_account_that_rests_is_not_counted(engine: Engine) -> None:
    """So that a run costs what came since the last one, not what there is."""
    write(engine, "resting", [2 * HOUR_S, 3 * HOUR_S, 4 * HOUR_S])
    assert prune(engine, keep=1) == 0
