"""Statements that travel to PostgreSQL together, by libpq itself."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from worker.db.engine import make_engine, reading, writing
from worker.db.pipelined import pipelined
from worker.db.postgresql import round_trip
from worker.errors import DatabaseUnreachable

_STATE = "INSERT INTO duty (name, until) VALUES (%(name)s, %(until)s) RETURNING name"


@pytest.fixture
def engine(postgres_url: str) -> Iterator[Engine]:
    made = make_engine(postgres_url)
    yield made
    made.dispose()


def duties(engine: Engine) -> list[str]:
    with reading(engine) as connection:
        return [str(row[0]) for row in connection.execute(text("SELECT name FROM duty ORDER BY name"))]


def test_values_and_rows_are_what_psycopg_makes_of_them(engine: Engine) -> None:
    given = {
        "word": "100 % o'clock \u2713",
        "words": ["a,b", '"c"', ""],
        "number": 7,
        "part": 0.25,
        "yes": True,
    }
    statement = (
        "SELECT %(word)s || '%%', CAST(%(words)s AS text[]), %(number)s, CAST(%(part)s AS double precision), "
        "%(yes)s, NULL, %(word)s = 'x'"
    )
    expected = (f"{given['word']}%", given["words"], 7, 0.25, True, None, False)
    for _ in range(2):  # prepared, and used again
        with reading(engine) as connection, pipelined(connection) as pipeline:
            first = pipeline.send(statement, given)
            none = pipeline.send("SELECT 1 WHERE %(never)s", {"never": False})
            second = pipeline.send("SELECT name FROM duty WHERE name = ANY(%(names)s)", {"names": []})
        assert (first.fetchall(), none.fetchall(), second.fetchall()) == ([expected], [], [])


def test_a_commit_behind_the_statements_is_seen_by_others_at_once(engine: Engine) -> None:
    with writing(engine) as connection:
        with pipelined(connection) as pipeline:
            pipeline.send(_STATE, {"name": "kept", "until": 1.0})
            pipeline.commit()
        assert duties(engine) == ["kept"]


def test_what_fails_takes_everything_of_its_transaction_back_and_the_connection_goes_on(
    engine: Engine,
) -> None:
    def twice_the_same(until: float) -> None:
        with writing(engine) as connection, pipelined(connection) as pipeline:
            pipeline.send(_STATE, {"name": "one", "until": until})
            pipeline.send(_STATE, {"name": "one", "until": until})
            pipeline.send("SELECT 1", {})
            pipeline.commit()

    for _ in range(2):
        with pytest.raises(IntegrityError):
            twice_the_same(1.0)
        assert duties(engine) == []
    with writing(engine) as connection, pipelined(connection) as pipeline:
        stored = pipeline.send(_STATE, {"name": "one", "until": 2.0})
    assert stored.fetchall() == [("one",)]
    assert duties(engine) == ["one"]
    assert engine.pool.checkedin() == 1  # type: ignore[attr-defined]


def test_a_rollback_takes_what_is_prepared_away_and_it_is_prepared_again(engine: Engine) -> None:
    def keep(name: str) -> None:
        with writing(engine) as connection:
            connection.execute(text("SELECT 1"))  # the round trip does not begin the transaction
            with pipelined(connection) as pipeline:
                pipeline.send(_STATE, {"name": name, "until": 1.0})

    keep("one")
    for _ in range(8):  # psycopg prepares, too, and clears the session with the rollback
        duties(engine)
    with pytest.raises(DBAPIError), writing(engine) as connection:
        connection.execute(text("SELECT 1 / 0"))
    keep("two")
    with engine.connect() as connection:
        connection.execute(text("SELECT 1"))  # given back within a transaction
    keep("three")
    assert duties(engine) == ["one", "three", "two"]


def test_rollbacks_leave_no_statements_behind_on_the_server(engine: Engine) -> None:
    def fails() -> None:
        with writing(engine) as connection:
            with pipelined(connection) as pipeline:
                pipeline.send(_STATE, {"name": "one", "until": 1.0})
            connection.execute(text("SELECT 1 / 0"))

    for _ in range(4):
        with pytest.raises(DBAPIError):
            fails()
    with reading(engine) as connection, pipelined(connection) as pipeline:
        left = pipeline.send("SELECT name FROM pg_prepared_statements WHERE name LIKE 'refreshd%%'", {})
    assert len(left.fetchall()) == 1  # which counts itself


def test_a_session_that_another_has_cleared_is_no_failure_where_the_transaction_begins(
    engine: Engine,
) -> None:
    def keep(name: str) -> None:
        with writing(engine) as connection, pipelined(connection) as pipeline:
            pipeline.send(_STATE, {"name": name, "until": 1.0})

    keep("one")
    with writing(engine) as connection:
        connection.execute(text("DEALLOCATE ALL"))
    keep("two")
    assert duties(engine) == ["one", "two"]


def test_a_statement_that_is_none_is_refused_as_sqlalchemy_refuses_it(engine: Engine) -> None:
    with (
        pytest.raises(DBAPIError, match="syntax"),
        reading(engine) as connection,
        pipelined(connection) as one,
    ):
        one.send("SELEKT 1", {})


def test_a_session_that_is_ended_meanwhile_is_an_unreachable_database_and_the_next_one_is_new(
    engine: Engine,
) -> None:
    def ended() -> None:
        with writing(engine) as connection, pipelined(connection) as pipeline:
            pipeline.send(_STATE, {"name": "lost", "until": 1.0})
            pipeline.send("SELECT pg_terminate_backend(pg_backend_pid())", {})
            pipeline.commit()

    def keep(name: str) -> None:
        with writing(engine) as connection, pipelined(connection) as pipeline:
            pipeline.send(_STATE, {"name": name, "until": 1.0})

    keep("before")  # prepared on the session that ends
    with pytest.raises(DatabaseUnreachable):
        ended()
    keep("after")
    assert duties(engine) == ["after", "before"]


def test_an_interruption_leaves_no_answer_for_the_next_statement(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: object) -> list[object]:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(round_trip, "_answers", interrupted)
        with pytest.raises(KeyboardInterrupt), reading(engine) as connection, pipelined(connection) as one:
            one.send("SELECT 'of the one before'", {})
    with reading(engine) as connection, pipelined(connection) as pipeline:
        found = pipeline.send("SELECT 'mine'", {})
    assert found.fetchall() == [("mine",)]


def test_more_than_the_sockets_hold_goes_both_ways(engine: Engine) -> None:
    long = "x" * 8_000_000
    with reading(engine) as connection, pipelined(connection) as pipeline:
        sent = [pipeline.send("SELECT CAST(%(long)s AS text)", {"long": long}) for _ in range(3)]
    assert all(one.fetchall() == [(long,)] for one in sent)


def test_statements_beyond_those_that_are_kept_prepared_run_as_well(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(round_trip, "PREPARED_MAX", 2)
    for _ in range(2):
        with reading(engine) as connection, pipelined(connection) as pipeline:
            sent = [pipeline.send(f"SELECT {number}", {}) for number in range(4)]
        assert [one.fetchall() for one in sent] == [[(0,)], [(1,)], [(2,)], [(3,)]]
