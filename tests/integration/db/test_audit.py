"""The audit trail's SQL, on both databases, and whom it names."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, text

from models.tables.audit import Act, Action, Actor
from worker.context import current_actor
from worker.db.engine import make_engine, writing
from worker.db.records.acts import RunningEntry
from worker.db.records.audit import AuditTrail

MIA = Actor("mia", "desk-1")


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    made = make_engine(database_url)
    yield made
    made.dispose()


def test_since_leaves_out_what_is_older_and_prune_deletes_what_is_too_old(engine: Engine) -> None:
    audit = AuditTrail(engine)
    audit.record(MIA, Act(Action.REVEAL, "a"), Act(Action.REVEAL, "b"))
    with writing(engine) as connection:
        connection.execute(text("UPDATE audit SET at = at - 7200 WHERE account_id = 'a'"))

    assert [one.account_id for one in audit.latest(limit=9)] == ["b", "a"]
    assert [one.account_id for one in audit.latest(since_s=3600, limit=9)] == ["b"]
    assert audit.own("a", since_s=3600, limit=9) == []
    assert audit.prune(older_than_s=3600, batch=1) == 1
    assert audit.own("a", limit=9) == []


def test_a_running_entry_is_one_and_outlives_a_commit_that_failed(engine: Engine) -> None:
    entry = RunningEntry(engine, MIA, Action.IMPORT, {"file": "f"})
    with engine.connect() as connection:
        entry.write(connection, {"added": 1})
        connection.rollback()
    with writing(engine) as connection:
        entry.write(connection, {"added": 1})
    entry.finish({"added": 2})
    assert [one.detail for one in AuditTrail(engine).latest(limit=9)] == ['{"added": 2, "file": "f"}']


@pytest.mark.parametrize(
    ("user", "sudo_user", "named", "actor"),
    [
        ("mia", None, None, "mia"),
        ("root", "mia", None, "mia (sudo, root)"),
        ("root", "root", None, "root"),
        ("root", "mia", "deploy-bot", "deploy-bot"),
    ],
)
def test_the_person_behind_sudo_is_named(
    monkeypatch: pytest.MonkeyPatch, user: str, sudo_user: str | None, named: str | None, actor: str
) -> None:
    monkeypatch.setenv("LOGNAME", user)
    monkeypatch.delenv("SUDO_USER", raising=False)
    if sudo_user:
        monkeypatch.setenv("SUDO_USER", sudo_user)
    assert current_actor(named).name == actor
