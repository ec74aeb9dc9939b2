"""A command leaves no connection open: SQLite removes the log beside its file (`-wal`) when the last one is closed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.integration.accounts.conftest import Refreshd, acme


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """SQLite alone: on PostgreSQL a process that ends closes its connections as well."""
    return sqlite_url


@pytest.mark.parametrize(
    "words",
    [
        "accounts list",
        "accounts show a",
        "accounts show nobody",
        "callbacks list",
        "doctor",
        "explain a",
        "history a",
        "keys check",
        "keys list",
        "pause --provider acme",
        "providers list",
        "refresh a",
        "status --json",
        "token a",
        "webhooks list",
        "webhooks retry",
    ],
)
def test_a_command_closes_the_database(refreshd: Refreshd, tmp_path: Path, words: str) -> None:
    (tmp_path / "all.jsonl").write_text(f"{json.dumps(acme('a'))}\n")
    assert refreshd("accounts", "import", str(tmp_path / "all.jsonl")).exit_code == 0
    refreshd(*words.split())
    assert not list(tmp_path.glob("*-wal"))
