"""`refreshd callbacks test`, where there is no outcome in time: it says what became of the run."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import redis
from sqlmodel import Session

from models.tables.attempt import Attempt, Trigger
from tests.integration.accounts.conftest import Refreshd, acme, file, refreshd, stores
from worker.callbacks.catalog import PYTHON, CallbackCatalog, Offered
from worker.callbacks.heartbeats import CallbackHeartbeats
from worker.db.engine import make_engine, writing
from worker.errors import WaitTimedOut

__all__ = ["file", "refreshd", "stores"]


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    return sqlite_url


@pytest.mark.parametrize(
    ("taken", "words"),
    [(True, "it still runs on callback@here after 1 s"), (False, "no callback worker took it within 1 s")],
)
def test_a_run_that_goes_on_is_told_from_one_that_nobody_took(
    taken: bool,
    words: str,
    refreshd: Refreshd,
    stores: redis.Redis,
    file: Callable[..., Path],
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def send(_name: str, *, task_id: str, **_options: Any) -> None:
        """Be a worker that begins at once."""
        if not taken:
            return
        engine = make_engine(database_url)
        with writing(engine) as connection, Session(connection) as session:
            begun = Attempt(
                id="one",
                account_id="acme-1",
                trigger=Trigger.TEST,
                opened_at=1,
                generation=1,
                config_version=1,
            )
            begun.worker, begun.task_id = "callback@here", task_id
            session.add(begun)
            session.flush()
        engine.dispose()

    celery = ModuleType("worker.app")
    vars(celery)["app"] = SimpleNamespace(send_task=send)
    monkeypatch.setitem(sys.modules, "worker.app", celery)
    CallbackHeartbeats(stores, "refreshd:").announce(
        "callback@here", CallbackCatalog({"mine": Offered(PYTHON, "mine.py:1")})
    )
    row = acme(refresh_method="callback", callback="mine")
    assert refreshd("accounts", "import", str(file(row))).exit_code == 0

    ran = refreshd("callbacks", "test", "mine", "--account", "acme-1", "--timeout", "1")

    assert ran.exit_code == WaitTimedOut.exit_code
    assert words in ran.stderr
