"""`refreshd refresh --provider NAME --force`: many accounts are made due, and plans take them at their provider's rate."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine, text

from tests.integration.accounts.conftest import Refreshd
from worker.db.engine import reading, writing

pytestmark = pytest.mark.usefixtures("three")


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """SQLite alone: tests/integration/refresh/test_query_plans.py runs the same SQL on both databases."""
    return sqlite_url


@pytest.fixture
def later(engine: Engine) -> Engine:
    """Return the database, its accounts all planned for later; `c` is set aside by a pause."""
    with writing(engine) as connection:
        connection.execute(text("UPDATE account SET next_refresh_at = 9e9, plan_at = 9e9"))
        connection.execute(text("UPDATE account SET plan_at = NULL WHERE id = 'c'"))
    return engine


def due(engine: Engine) -> dict[str, str]:
    with reading(engine) as connection:
        found = connection.execute(text("SELECT id, due_reason FROM account WHERE plan_at < 8e9"))
        return {str(row[0]): str(row[1]) for row in found}


def test_all_accounts_of_a_provider_are_due_now_but_those_that_are_held(
    refreshd: Refreshd, later: Engine
) -> None:
    ran = refreshd("refresh", "--provider", "acme", "--force")
    assert (ran.exit_code, due(later)) == (0, {"a": "asked_for"})
    assert ran.stdout.startswith("1 account due now: the next plans refresh them")
    assert ran.stderr.startswith("1 of 2 are as they were")
    entry = refreshd("audit", "--json").lines[-1]
    assert (entry["action"], entry["detail"]) == ("refresh", {"provider": "acme", "accounts": 1})
    assert refreshd("refresh", "--provider", "acme", "--force", "--json").json == {"accounts": 2, "due": 0}


def test_which_accounts_are_narrowed_down(refreshd: Refreshd, later: Engine) -> None:
    assert "No account is like that" in refreshd("refresh", "--reason", "key_missing", "--force").stderr
    assert refreshd("refresh", "--status", "degraded", "--force", "--json").json == {"accounts": 0, "due": 0}
    assert due(later) == {}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "name accounts"),
        (["a", "--provider", "acme", "--force"], "name accounts"),
        (["--provider", "acme"], "with --force"),
        (["--provider", "acme", "--force", "--wait"], "--wait is for named accounts"),
        (["--status", "reauthorize", "--force"], "need their owner"),
    ],
)
def test_what_is_not_for_many_is_refused(refreshd: Refreshd, words: list[str], says: str) -> None:
    ran = refreshd("refresh", *words)
    assert (ran.exit_code, says in " ".join(ran.stderr.split())) == (2, True)
