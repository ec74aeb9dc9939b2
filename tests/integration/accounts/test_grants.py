"""Consent again: a new grant takes the place of the stored one at once, by a process that can open nothing."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, event, text
from sqlalchemy.exc import ProgrammingError

from models.tables.account import Status, fingerprint
from models.tables.audit import Actor
from models.token import Secret
from tests.integration.conftest import Bench
from worker.accounts.entry import RowRefused
from worker.accounts.grants import service as grant_service
from worker.accounts.grants.replacement import (
    Grant,
    GrantOutcome,
    GrantStore,
    NeedsWorker,
    StoredGrant,
    read_grant,
)
from worker.accounts.grants.service import GrantService, TakenGrant
from worker.accounts.token_precedence import StoredTokens, TokenFacts, decide
from worker.crypto.intake import IntakeSealer
from worker.crypto.sealer import TokenSealer
from worker.db.engine import make_engine, writing
from worker.db.intake.grants import UNSEALED
from worker.db.repair.rekey import rotate, sealed_with
from worker.errors import DatabaseUnreachable, UnknownAccount

NEW = {"access_token": "new-access", "refresh_token": "new-refresh", "expires_in": 3600, "scope": "all"}
BY = Actor("platform", "web")


def grant(account: str = "acct", /, **fields: Any) -> Grant:
    given = {name: value for name, value in {**NEW, **fields}.items() if value is not None}
    return read_grant(account, given, actor=BY)


class GrantDesk:
    """Stores grants with a public key alone, and opens what is stored with the bench's."""

    def __init__(self, bench: Bench, engine: Engine | None = None) -> None:
        self.bench = bench
        runtime = bench.runtime
        self.store = GrantStore(
            engine=engine or runtime.engine,
            sealer=TokenSealer(IntakeSealer.of(runtime.cipher.intake_key)),
            providers=runtime.providers,
            clock=runtime.clock,
            told={"connected", "reconnected", "recovered"},
        )

    def service(self) -> GrantService:
        runtime = self.bench.runtime
        return GrantService(
            store=self.store,
            publisher=runtime.publisher,
            marks=runtime.publication_store,
            executor=runtime.executor,
        )

    async def together(self, grants: list[Grant]) -> list[TakenGrant | BaseException]:
        service = self.service()
        found = await asyncio.gather(*map(service.put, grants), return_exceptions=True)
        await service.close()
        return found

    def put(self, *grants: Grant) -> list[TakenGrant | BaseException]:
        return self.bench.runtime.run(self.together(list(grants)))

    def change(self, account: str = "acct", **values: Any) -> None:
        sets = ", ".join(f"{name} = :{name}" for name in values)
        with writing(self.bench.runtime.engine) as connection:
            statement = f"UPDATE account SET {sets} WHERE id = :id"  # noqa: S608  (names are of this file)
            connection.execute(text(statement), values | {"id": account})

    def outbox(self) -> list[tuple[str, str, int]]:
        with self.bench.runtime.engine.connect() as connection:
            rows = connection.execute(text("SELECT type, account, generation FROM outbox ORDER BY id"))
            return [(row[0], row[1], row[2]) for row in rows]


@pytest.fixture
def desk(bench: Bench) -> GrantDesk:
    return GrantDesk(bench)


def test_a_redis_that_takes_its_time_holds_no_commit_of_others(bench: Bench, desk: GrantDesk) -> None:
    bench.add("slow")
    bench.add("next")
    redis: Any = bench.runtime.redis

    async def work() -> None:
        service = desk.service()
        first = asyncio.create_task(service.put(grant("slow")))
        for _ in range(3):  # it is being committed
            await asyncio.sleep(0)
        second = asyncio.create_task(service.put(grant("next", refresh_token="another")))
        try:
            async with asyncio.timeout(4):  # Redis is given up after five
                while bench.account("next").generation == 1:
                    await asyncio.sleep(0.01)
            assert not first.done()
        finally:
            redis.client_unpause()
        await asyncio.gather(first, second)
        await service.close()

    redis.client_pause(30_000, all=False)
    bench.runtime.run(work())


def test_a_new_grant_replaces_the_stored_one_and_is_published(bench: Bench, desk: GrantDesk) -> None:
    bench.add()

    (taken,) = desk.put(grant())

    assert isinstance(taken, TakenGrant)
    assert taken.published
    account = bench.account()
    assert taken.stored.as_json(published=True) == {
        "account": "acct",
        "outcome": "replaced",
        "generation": 2,
        "status": "active",
        "expires_at": account.expires_at,
        "next_refresh_at": account.next_refresh_at,
        "published": True,
    }
    assert (account.generation, account.published_generation) == (2, 2)
    assert account.scope == "all"
    assert bench.refresh_token() == "new-refresh"
    token = bench.token()
    assert token is not None
    assert (token.access_token, token.generation) == ("new-access", 2)
    assert bench.events() == [("reconnected", "consent_given")]
    assert desk.outbox() == [("reconnected", "acct", 2)]


def test_a_refused_account_is_reconnected_and_its_failures_end(bench: Bench, desk: GrantDesk) -> None:
    bench.add(
        status=Status.REAUTHORIZE,
        reason="invalid_grant",
        failures=3,
        failed_at=1.0,
        held_by="gate",
        next_refresh_at=None,
        plan_at=None,
        kept_sealed="v1.k.AAAA",
    )

    (taken,) = desk.put(grant())

    assert isinstance(taken, TakenGrant)
    assert taken.stored.outcome is GrantOutcome.RECONNECTED
    account = bench.account()
    assert (account.status, account.reason, account.failures, account.failed_at, account.held_by) == (
        "active",
        None,
        0,
        None,
        None,
    )
    assert account.kept_sealed is None
    assert account.next_refresh_at is not None
    assert account.plan_at == account.next_refresh_at
    assert bench.events() == [("recovered", "credentials_replaced"), ("reconnected", "consent_given")]


def test_an_account_without_a_grant_is_connected(bench: Bench, desk: GrantDesk) -> None:
    bench.add(
        access_token_sealed=None, refresh_token_sealed=None, refresh_fp=None, issued_at=None, expires_at=None
    )

    (taken,) = desk.put(grant())

    assert isinstance(taken, TakenGrant)
    assert taken.stored.outcome is GrantOutcome.CONNECTED
    assert bench.events() == [("connected", "consent_given")]


def test_a_refresh_with_the_new_grant_goes_on(bench: Bench, desk: GrantDesk) -> None:
    bench.add()
    desk.put(grant())
    desk.change(next_refresh_at=1.0, plan_at=1.0)
    bench.answer = lambda _: httpx.Response(
        200, json={"access_token": "third", "refresh_token": "third-refresh", "expires_in": 3600}
    )

    results = bench.refresh("acct", seen=2)

    assert results["acct"].outcome.value == "refreshed"
    assert b"refresh_token=new-refresh" in bench.requests[0].content
    assert bench.refresh_token() == "third-refresh"


def test_an_attempt_in_flight_for_the_old_grant_loses(bench: Bench, desk: GrantDesk) -> None:
    bench.add()

    def consent_meanwhile(_: httpx.Request) -> httpx.Response:
        desk.store.store_one(grant())
        return httpx.Response(200, json={"access_token": "late", "refresh_token": "late-r", "expires_in": 9})

    bench.answer = consent_meanwhile
    results = bench.refresh()

    assert results["acct"].outcome.value != "refreshed"
    assert bench.refresh_token() == "new-refresh"
    assert bench.account().generation == 2


def test_a_grant_of_another_accounts_token_is_refused(bench: Bench, desk: GrantDesk) -> None:
    bench.add("acct")
    bench.add("twin", refresh_token="theirs")

    (refused,) = desk.put(grant(refresh_token="theirs"))

    assert isinstance(refused, RowRefused)
    assert [one.field for one in refused.problems] == ["refresh_token"]
    assert "twin" in str(refused)
    assert bench.refresh_token() == "old-refresh"


def test_two_grants_of_one_token_in_one_commit_are_not_both_stored(bench: Bench, desk: GrantDesk) -> None:
    bench.add("one", refresh_token="r1")
    bench.add("two", refresh_token="r2")

    found = desk.put(grant("one", refresh_token="same"), grant("two", refresh_token="same"))

    assert sorted(type(one).__name__ for one in found) == ["RowRefused", "TakenGrant"]


def test_a_token_of_an_account_whose_own_grant_fails_in_the_same_commit_is_refused(
    bench: Bench, desk: GrantDesk
) -> None:
    bench.add("acct")
    bench.add("twin", refresh_token="theirs", status=Status.REAUTHORIZE)

    found = desk.put(grant("acct", refresh_token="theirs"), grant("twin", refresh_token=None))

    assert [type(one).__name__ for one in found] == ["RowRefused", "RowRefused"]
    assert "twin" in str(found[0])


def commits_of(
    bench: Bench,
    desk: GrantDesk,
    monkeypatch: pytest.MonkeyPatch,
    before: Callable[[], object] = lambda: None,
) -> list[list[str]]:
    """Return the accounts of each commit to come, of `one` and `two`; clients have long to come back."""
    for wait in ("TOGETHER_S", "ANSWERED_S"):
        monkeypatch.setattr(grant_service, wait, 5.0)
    for name in ("one", "two"):
        bench.add(name, refresh_token=f"old-{name}")
    commits: list[list[str]] = []
    store = desk.store.store

    def counted(grants: Sequence[Grant], **more: Any) -> Any:
        commits.append([one.account for one in grants])
        before()
        return store(grants, **more)

    desk.store.store = counted  # type: ignore[method-assign]
    return commits


def test_who_was_just_answered_is_waited_for_and_stored_with_those_who_wait(
    bench: Bench, desk: GrantDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    second_came = threading.Event()
    commits = commits_of(bench, desk, monkeypatch, before=lambda: second_came.wait(30))

    async def both() -> None:
        service = desk.service()

        async def first() -> None:
            await service.put(grant("one", refresh_token="one-1"))
            await service.put(grant("one", refresh_token="one-2"))

        async def second() -> None:
            while not commits:
                await asyncio.sleep(0)
            asking = asyncio.create_task(service.put(grant("two", refresh_token="two-1")))
            await asyncio.sleep(0)
            second_came.set()
            await asking

        await asyncio.gather(first(), second())
        await service.close()

    bench.runtime.run(both())

    assert commits == [["one"], ["two", "one"]]


def test_those_who_were_answered_together_are_stored_together_again(
    bench: Bench, desk: GrantDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    commits = commits_of(bench, desk, monkeypatch)

    async def both() -> None:
        service = desk.service()
        asked = asyncio.Event()

        async def first() -> None:
            await service.put(grant("one", refresh_token="one-1"))
            asking = asyncio.create_task(service.put(grant("one", refresh_token="one-2")))
            await asyncio.sleep(0.05)
            asked.set()
            await asking

        async def second() -> None:
            await service.put(grant("two", refresh_token="two-1"))
            await asked.wait()
            await service.put(grant("two", refresh_token="two-2"))

        await asyncio.gather(first(), second())
        await service.close()

    bench.runtime.run(both())

    assert commits == [["one", "two"], ["one", "two"]]


def test_two_grants_of_one_account_are_stored_one_after_the_other(bench: Bench, desk: GrantDesk) -> None:
    bench.add()

    found = desk.put(grant(refresh_token="r1"), grant(refresh_token="r2"))

    generations = [one.stored.account.generation for one in found if isinstance(one, TakenGrant)]
    assert generations == [2, 3]
    assert bench.refresh_token() == "r2"
    assert bench.account().published_generation == 3


def test_many_grants_come_together(bench: Bench, desk: GrantDesk) -> None:
    for number in range(120):
        bench.add(f"acct-{number}", refresh_token=f"old-{number}")

    found = desk.put(*(grant(f"acct-{number}", refresh_token=f"new-{number}") for number in range(120)))

    assert all(isinstance(one, TakenGrant) and one.published for one in found)
    assert {bench.account(f"acct-{number}").published_generation for number in range(120)} == {2}
    assert len(desk.outbox()) == 120


def test_an_unknown_account_and_one_without_the_label_are_the_same(bench: Bench, desk: GrantDesk) -> None:
    bench.add(labels='{"tenant": "acme"}')
    labelled = read_grant("acct", NEW, actor=BY, require_labels={"tenant": "other"})
    right = read_grant("acct", NEW, actor=BY, require_labels={"tenant": "acme"})

    other, missing, taken = desk.put(labelled, grant("nobody"), right)

    assert isinstance(other, UnknownAccount)
    assert isinstance(missing, UnknownAccount)
    assert isinstance(taken, TakenGrant)


def test_a_refused_account_needs_a_refresh_token(bench: Bench, desk: GrantDesk) -> None:
    bench.add(status=Status.REAUTHORIZE)

    (refused,) = desk.put(grant(refresh_token=None))

    assert isinstance(refused, RowRefused)
    assert "the provider refused the stored one" in str(refused)


def test_a_grant_without_a_refresh_token_leaves_the_stored_one(bench: Bench, desk: GrantDesk) -> None:
    bench.add()

    (taken,) = desk.put(grant(refresh_token=None))

    assert isinstance(taken, TakenGrant)
    assert bench.refresh_token() == "old-refresh"
    assert bench.account().refresh_fp is not None
    token = bench.token()
    assert token is not None
    assert token.access_token == "new-access"


def test_a_grant_without_an_access_token_is_refreshed_at_once(bench: Bench, desk: GrantDesk) -> None:
    bench.add(next_refresh_at=4e9, plan_at=4e9)

    (taken,) = desk.put(grant(access_token=None))

    assert isinstance(taken, TakenGrant)
    account = bench.account()
    assert account.plan_at is not None
    assert account.plan_at <= bench.runtime.clock.now()
    assert account.due_reason == "no_access_token_yet"
    assert account.access_token_sealed is None, "it is of the grant before"


def test_a_grant_that_proves_possession_needs_a_worker(bench: Bench, desk: GrantDesk) -> None:
    bench.add()

    (refused,) = desk.put(grant(token_type="DPoP"))

    assert isinstance(refused, NeedsWorker)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"access_token": None, "refresh_token": None}, "access_token"),
        ({"expires_in": "soon"}, "expires_in"),
        ({"refresh_token_expires_in": "soon"}, "refresh_token_expires_in"),
        ({"access_token": "with a \n break"}, "access_token"),
    ],
)
def test_a_field_that_cannot_be_read_is_named(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(RowRefused) as refused:
        grant(**fields)
    assert [one.field for one in refused.value.problems] == [field]


def test_other_fields_of_a_token_response_are_not_looked_at() -> None:
    assert grant(id_token="x.y.z", ext_expires_in=1).tokens.scope == "all"


def test_a_store_that_is_away_is_each_askers_error(bench: Bench, desk: GrantDesk) -> None:
    bench.add()

    def fail(*_: Any, **__: Any) -> None:
        raise OSError("marker: the disk is full")

    desk.store.store = fail  # type: ignore[method-assign,assignment]
    one, two = desk.put(grant(), grant())

    assert isinstance(one, RuntimeError)
    assert isinstance(two, RuntimeError)
    assert one is not two


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_connection_that_ends_within_a_commit_is_the_askers_error_and_the_next_has_another(
    bench: Bench,
) -> None:
    bench.add()
    engine = make_engine(bench.runtime.settings.database, trusted_s=3600)
    desk = GrantDesk(bench, engine)

    def end_connections() -> None:
        with bench.runtime.engine.connect() as connection:
            connection.execute(
                text(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
            )

    try:
        desk.store.store([grant()])
        end_connections()
        with pytest.raises(DatabaseUnreachable):
            desk.store.store([grant(refresh_token="lost")])
        (stored,) = desk.store.store([grant(refresh_token="newer")])
    finally:
        engine.dispose()

    assert isinstance(stored, StoredGrant)
    assert bench.refresh_token() == "newer"


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_connection_that_rested_is_asked_whether_it_still_is_one(bench: Bench) -> None:
    bench.add()
    engine = make_engine(bench.runtime.settings.database, trusted_s=1e-9)
    desk = GrantDesk(bench, engine)
    try:
        desk.store.store([grant()])
        with engine.connect() as one:
            pid = one.execute(text("SELECT pg_backend_pid()")).scalar_one()
        with bench.runtime.engine.connect() as other:
            other.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
        (stored,) = desk.store.store([grant(refresh_token="newer")])
    finally:
        engine.dispose()

    assert isinstance(stored, StoredGrant)


@pytest.fixture
def reads(bench: Bench) -> Iterator[set[str]]:
    """Collect the sealed columns that statements read: SQLite names each column as it compiles a statement."""
    engine, seen = bench.runtime.engine, set[str]()

    def note(action: int, table: str | None, column: str | None, *_: object) -> int:
        if action == sqlite3.SQLITE_READ and column and column.endswith("_sealed"):
            seen.add(f"{table}.{column}")
        return sqlite3.SQLITE_OK

    def watch(connection: Any, *_: object) -> None:
        connection.set_authorizer(note)

    bench.add()
    event.listen(engine, "connect", watch)
    engine.dispose()
    yield seen
    event.remove(engine, "connect", watch)
    engine.dispose()


EVERY_KIND = [grant(), grant(access_token=None), grant(refresh_token=None), grant("nobody")]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_no_statement_reads_a_sealed_column(desk: GrantDesk, reads: set[str]) -> None:
    desk.store.store(EVERY_KIND)
    assert reads == set()

    with desk.bench.runtime.engine.connect() as connection:
        connection.execute(text("SELECT access_token_sealed FROM account"))
    assert reads == {"account.access_token_sealed"}


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_role_that_reads_no_sealed_column_stores_grants(bench: Bench) -> None:
    bench.add()
    with writing(bench.runtime.engine) as connection:
        for statement in (
            "CREATE ROLE web_facing NOLOGIN",
            f"GRANT SELECT ({', '.join(UNSEALED)}), UPDATE ON account TO web_facing",
            "GRANT INSERT ON audit, outbox TO web_facing",
            "GRANT SELECT ON audit TO web_facing",
        ):
            connection.execute(text(statement))
    engine = make_engine(bench.runtime.settings.database)

    @event.listens_for(engine, "connect")
    def become(connection: Any, *_: object) -> None:
        connection.execute("SET ROLE web_facing")
        connection.commit()

    try:
        found = GrantDesk(bench, engine).store.store(EVERY_KIND)
        with engine.connect() as connection, pytest.raises(ProgrammingError, match="permission denied"):
            connection.execute(text("SELECT refresh_token_sealed FROM account"))
    finally:
        engine.dispose()
        with writing(bench.runtime.engine) as connection:
            connection.execute(text("DROP OWNED BY web_facing"))
            connection.execute(text("DROP ROLE web_facing"))

    assert [type(one).__name__ for one in found] == [
        "StoredGrant",
        "StoredGrant",
        "StoredGrant",
        "UnknownAccount",
    ]
    assert bench.refresh_token() == "new-refresh"


def test_a_rotation_seals_anew_what_was_sealed_to_the_public_key(bench: Bench, desk: GrantDesk) -> None:
    bench.add()
    desk.store.store_one(grant())
    cipher, engine = bench.runtime.cipher, bench.runtime.engine
    assert (bench.account().refresh_token_sealed or "").startswith(f"h1.{cipher.writing_key}.")
    assert set(sealed_with(engine)) == {cipher.writing_key}

    (done,) = rotate(engine, cipher)

    assert (done.resealed, done.unreadable) == (2, ())
    assert (bench.account().refresh_token_sealed or "").startswith(f"v1.{cipher.writing_key}.")
    assert bench.refresh_token() == "new-refresh"
    (again,) = rotate(engine, cipher)
    assert again.resealed == 0


def test_the_row_of_a_file_from_before_the_consent_changes_nothing(bench: Bench, desk: GrantDesk) -> None:
    bench.add(source_fp=fingerprint(Secret("old-refresh")))
    desk.store.store_one(grant())
    account = bench.account()

    facts = TokenFacts(
        file_fp=fingerprint(Secret("old-refresh")),
        stored_fp=account.refresh_fp,
        source_fp=account.source_fp,
        same=False,
    )

    assert decide(facts).tokens is StoredTokens.KEEP
