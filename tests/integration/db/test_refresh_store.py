"""What the ledger's conditions keep apart: a row that has changed between two steps of a refresh."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Engine, text
from sqlmodel import Session

from models.tables.account import Account, Status
from models.tables.attempt import INTERRUPTED, Attempt, AttemptEntry, Outcome
from worker.clock import Clock
from worker.db.accounts.stored import Accounts, blank
from worker.db.bulk import fetch
from worker.db.engine import database_now, is_sqlite, make_engine, reading, writing
from worker.db.publication.store import LOOK_AGAIN_S, PublicationUpdates
from worker.db.refresh.completions import Completion, Postponement, Stored
from worker.db.refresh.store import RefreshStore
from worker.errors import DatabaseUnreachable

_numbers = itertools.count()
CLAIM_S = 45.0
MINUTE_S = 60.0


class Book:
    """A ledger, one account in it, and the hands of others on its row."""

    def __init__(self, engine: Engine, account_id: str) -> None:
        self.engine = engine
        self.id = account_id
        self.refresh_store = RefreshStore(engine, Clock())
        with reading(engine) as connection:
            self.now = database_now(connection)

    def is_after(self, seconds: float, at: float | None) -> bool:
        """Return whether a time lies so long after a moment between the test's begin and now."""
        with reading(self.engine) as connection:
            latest = database_now(connection)
        return at is not None and self.now + seconds - 0.01 <= at <= latest + seconds + 0.01

    def add(self, **columns: Any) -> Account:
        """Store the account: due and planned."""
        given = {
            "provider": "acme",
            "generation": 1,
            "status": "active",
            "next_refresh_at": self.now - 1,
            "plan_at": self.now + MINUTE_S,
            "expires_at": self.now + MINUTE_S,
            "created_at": self.now - MINUTE_S,
            **columns,
        }
        Accounts(self.engine).save([blank(self.id, **given)])
        return self.row()

    def change(self, **columns: Any) -> None:
        """Change the row, as another process does."""
        if columns:
            sets = ", ".join(f"{name} = :{name}" for name in columns)
            with writing(self.engine) as connection:
                statement = f"UPDATE account SET {sets} WHERE id = :id"  # noqa: S608  (names of ours)
                connection.execute(text(statement), columns | {"id": self.id})

    def row(self) -> Account:
        return self.refresh_store.load([self.id])[self.id]

    def open(self, account: Account, attempt: str = "mine") -> AttemptEntry | None:
        """Open an attempt on a row as it was loaded; None where it is not ours."""
        entry = AttemptEntry(
            id=self.named(attempt),
            account_id=self.id,
            trigger="planned",
            opened_at=self.now,
            generation=account.generation,
            config_version=account.config_version,
        )
        return entry if self.refresh_store.open([(entry, account)], claim_s=CLAIM_S) else None

    def named(self, attempt: str) -> str:
        return f"{self.id}-{attempt}"

    def attempt(self, attempt: str = "mine") -> Attempt | None:
        with Session(self.engine) as session:
            return session.get(Attempt, self.named(attempt))

    def close(self, entry: AttemptEntry, account: Account, *, success: bool, **columns: Any) -> Stored:
        """Close an attempt: a success one generation on, a failure that is tried again in an hour."""
        values = {
            "failures": 1,
            "next_refresh_at": self.now + 3600,
            "plan_at": self.now + 3600,
            "reason": "r",
        }
        if success:
            values |= {"generation": account.generation + 1, "failures": 0}
        vars(account).update(values | columns)
        entry.outcome, entry.reason = (Outcome.REFRESHED if success else Outcome.RETRY), "r"
        entry.received_fp = "new" if success else None
        completion = Completion(
            account, entry, success=success, seal_answer=(lambda: "sealed") if success else None
        )
        (stored,) = self.refresh_store.close([completion])
        return stored


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """One database for all of these: each test looks at an account of its own."""
    if request.param == "sqlite":
        path = tmp_path_factory.mktemp("ledger") / "refreshd.db"
        path.write_bytes(request.getfixturevalue("sqlite_template").read_bytes())
        url = f"sqlite:///{path}"
    else:
        template = request.getfixturevalue("postgres_template")
        url = request.getfixturevalue("postgres_service").create_database("ledger", template=template)
    engine = make_engine(url)
    yield engine
    engine.dispose()


@pytest.fixture
def book(engine: Engine) -> Book:
    return Book(engine, f"acct-{next(_numbers)}")


@pytest.mark.parametrize(
    "meanwhile",
    [
        {"generation": 2},
        {"config_version": 2},
        {"claim_attempt": "theirs", "claim_until": MINUTE_S},
        {"claim_attempt": "theirs", "claim_until": -1.0},  # begun and ended since: its token may be spent
    ],
    ids=["generation", "configuration", "claim", "ended claim"],
)
def test_a_row_that_has_changed_since_it_was_loaded_is_not_ours(
    book: Book, meanwhile: dict[str, Any]
) -> None:
    loaded = book.add()
    if "claim_until" in meanwhile:
        meanwhile = meanwhile | {"claim_until": book.now + meanwhile["claim_until"]}
    book.change(**meanwhile)
    before = book.row()

    assert book.open(loaded) is None

    after = book.row()
    assert (after.claim_attempt, after.claim_until, after.plan_at) == (
        before.claim_attempt,
        before.claim_until,
        before.plan_at,
    )
    assert book.attempt() is None, "nothing was begun, and the history says nothing of it"


def test_a_claim_that_has_not_ended_is_kept_by_whoever_has_it(book: Book) -> None:
    assert book.open(book.add(), "first") is not None
    assert book.open(book.row(), "second") is None
    assert book.row().claim_attempt == book.named("first")


@pytest.mark.parametrize("planned", [True, False])
def test_an_account_that_is_opened_is_planned_again_when_its_claim_ends(book: Book, planned: bool) -> None:
    """In case this process is gone by then. What no plan looks at stays out of the plan."""
    loaded = book.add(**({} if planned else {"plan_at": None}))
    assert book.open(loaded) is not None
    row = book.row()
    assert book.is_after(CLAIM_S, row.claim_until)
    assert row.plan_at == (row.claim_until if planned else None)


@pytest.mark.parametrize("closed", [True, False])
def test_an_attempt_that_was_left_open_is_closed_as_interrupted(book: Book, closed: bool) -> None:
    left = book.open(book.add(), "left")
    assert left is not None
    if closed:  # its answer was noted, and its claim was not ended
        with writing(book.engine) as connection:
            noted = "UPDATE attempt SET closed_at = 1, outcome = 'retry', reason = 'timed_out' WHERE id = :id"
            connection.execute(text(noted), {"id": left.id})
    book.change(claim_until=book.now - 1)

    assert book.open(book.row()) is not None

    found = book.attempt("left")
    assert found is not None
    assert (found.outcome, found.reason) == ("retry", "timed_out" if closed else INTERRUPTED)
    assert book.row().claim_attempt == book.named("mine")


THEIRS: dict[str, Any] = {"claim_attempt": "theirs", "claim_until": 9e12}


@pytest.mark.parametrize(
    ("meanwhile", "success", "failure"),
    [
        ({}, True, True),
        ({"generation": 2}, False, False),
        ({"config_version": 2}, True, False),
        (THEIRS, True, False),
        ({"claim_attempt": None, "claim_until": None}, True, False),
        ({"kept_sealed": "late"}, True, True),  # a failure that asks for nobody is as good as before
    ],
    ids=["nothing", "generation", "configuration", "claim", "claim ended", "kept"],
)
@pytest.mark.parametrize("succeeds", [True, False])
def test_a_success_goes_by_its_generation_a_failure_by_claim_and_configuration_too(
    book: Book, meanwhile: dict[str, Any], success: bool, failure: bool, succeeds: bool
) -> None:
    loaded = book.add()
    mine = book.open(loaded)
    assert mine is not None
    book.change(**meanwhile)
    before = book.row()

    stored = book.close(mine, loaded, success=succeeds)

    row = book.row()
    wanted = success if succeeds else failure
    assert stored == Stored(wanted, edited=succeeds and "config_version" in meanwhile)
    assert (row.generation, row.failures) == (
        (2, 0) if succeeds and wanted else (before.generation, int(wanted))
    )
    # Whose claim it is, stays; what no row took is kept where it may be of use.
    assert row.claim_attempt == ("theirs" if meanwhile == THEIRS else None)
    assert row.claim_until == (9e12 if meanwhile == THEIRS else None)
    late = "sealed" if succeeds and not wanted else None
    assert row.kept_sealed == (late if succeeds else before.kept_sealed)
    closed = book.attempt()
    assert closed is not None
    assert closed.closed_at is not None


def test_a_failure_that_asks_for_a_person_waits_for_an_answer_that_was_kept_meanwhile(book: Book) -> None:
    loaded = book.add()
    mine = book.open(loaded)
    assert mine is not None
    book.change(kept_sealed="late")
    stored = book.close(mine, loaded, success=False, status=Status.REAUTHORIZE, plan_at=None)
    assert not stored.stored
    assert (book.row().status, book.row().claim_attempt) == (Status.ACTIVE, None)


@pytest.mark.parametrize(
    ("meanwhile", "planned"),
    [
        ({"config_version": 2}, True),
        ({"config_version": 2, "plan_at": None}, False),
        ({"config_version": 2, **THEIRS}, False),
    ],
    ids=["ours", "out of the plan", "theirs"],
)
def test_what_was_not_stored_is_planned_again_when_it_is_due(
    book: Book, meanwhile: dict[str, Any], planned: bool
) -> None:
    loaded = book.add()
    mine = book.open(loaded)
    assert mine is not None
    book.change(**meanwhile)
    before = book.row()
    assert not book.close(mine, loaded, success=False).stored
    assert book.row().plan_at == (before.next_refresh_at if planned else before.plan_at)


@pytest.mark.parametrize(
    ("columns", "after_s", "plan_after_s", "held_by"),
    [
        ({}, 30.0, 30.0, "idp"),
        ({"next_refresh_at": 300.0}, 30.0, 300.0, "idp"),  # asked for before its time: it waits for that
        ({"plan_at": None}, 30.0, None, None),
        ({"generation": 2}, 30.0, MINUTE_S, None),
        ({"status": "degraded", "reason": "timed_out"}, 30.0, 30.0, "idp"),
    ],
    ids=["due", "not due", "unplanned", "generation", "degraded"],
)
def test_who_has_to_wait_is_planned_again_in_its_turn_and_knows_what_holds_it(
    book: Book, columns: dict[str, Any], after_s: float, plan_after_s: float | None, held_by: str | None
) -> None:
    times = {
        name: book.now + value if name.endswith("_at") and value is not None else value
        for name, value in columns.items()
    }
    before = book.add(**times)

    book.refresh_store.postpone([Postponement(book.id, 1, book.now + after_s, "provider_paused", "idp")])

    row = book.row()
    assert row.plan_at == (None if plan_after_s is None else pytest.approx(book.now + plan_after_s, abs=1))
    assert (row.held_by, row.status) == (held_by, before.status)
    held_and_active = held_by is not None and before.status == "active"
    assert row.reason == ("provider_paused" if held_and_active else before.reason)


@pytest.mark.parametrize(
    ("meanwhile", "taken"),
    [({}, True), ({"generation": 2}, False), ({"config_version": 2}, False)],
    ids=["nothing", "generation", "configuration"],
)
def test_a_new_due_time_is_not_written_over_a_row_that_has_moved_on(
    book: Book, meanwhile: dict[str, Any], taken: bool
) -> None:
    loaded = book.add()
    book.change(**meanwhile)
    loaded.rescheduled(book.now + 900, "edited")
    book.refresh_store.reschedule([loaded])
    assert (book.row().due_reason == "edited") is taken


@pytest.mark.parametrize(
    ("columns", "seen", "sooner"),
    [
        ({}, 1, True),
        ({}, 0, False),  # it was refreshed since
        ({"plan_at": 1.0}, 1, False),  # sooner anyway
        ({"plan_at": None}, 1, False),
        ({"next_refresh_at": 30.0}, 1, False),  # not due
        ({"claim_until": 30.0}, 1, False),  # whoever has it plans it
        ({"claim_until": -1.0}, 1, True),
    ],
    ids=["due", "generation", "sooner", "unplanned", "not due", "claimed", "claim ended"],
)
def test_who_was_dropped_is_planned_again_soon(
    book: Book, columns: dict[str, Any], seen: int, sooner: bool
) -> None:
    times = {name: None if value is None else book.now + value for name, value in columns.items()}
    before = book.add(**times).plan_at
    book.refresh_store.close([], PublicationUpdates(dropped=[(book.id, seen)]))
    after = book.row().plan_at
    assert book.is_after(LOOK_AGAIN_S, after) if sooner else after == before
    assert (after != before) is sooner


def test_what_redis_has_never_goes_back(book: Book) -> None:
    book.add(published_generation=3, generation=3)
    for published, wanted in ((2, 3), (4, 4)):
        book.refresh_store.close([], PublicationUpdates(published=[(book.id, published)]))
        assert book.row().published_generation == wanted


def test_the_clock_that_counts_is_the_database_s(book: Book) -> None:
    """A machine's own is off by years, and nobody's token is due for it."""
    book.add()
    clock = Clock()
    clock.set(1.0)
    RefreshStore(book.engine, clock).load([book.id])
    assert clock.now() > book.now - 60


def _lose_the_connection(engine: Engine) -> None:
    """Have the server end a connection between two statements of a transaction."""
    with reading(engine) as connection:
        (pid,) = connection.execute(text("SELECT pg_backend_pid()")).one()
        with reading(engine) as other:
            other.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
        fetch(connection, "SELECT %(one)s::int", {"one": 1})


def test_a_connection_lost_within_a_transaction_is_a_database_that_is_away(engine: Engine) -> None:
    if is_sqlite(engine):
        return  # it has no connections to lose
    with pytest.raises(DatabaseUnreachable):
        _lose_the_connection(engine)
    with reading(engine) as connection:
        assert fetch(connection, "SELECT %(one)s::int", {"one": 1}) == [(1,)]
