"""What people do is written down: who, what, on which account; never the value of a secret."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from tests.contract.leaks.commands import run
from tests.integration.accounts.conftest import Refreshd, acme
from worker.callbacks.catalog import CallbackCatalog
from worker.callbacks.heartbeats import CallbackHeartbeats
from worker.crypto.keyring import load_cipher
from worker.settings import load_settings

pytestmark = pytest.mark.usefixtures("three")
Write = Callable[..., Path]


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """SQLite alone: tests/integration/db/test_audit.py and tests/integration/scheduling/test_pauses.py try the same SQL on both databases."""
    return sqlite_url


def trail(refreshd: Refreshd, *words: str) -> list[tuple[str, str | None, dict[str, object]]]:
    return [
        (one["action"], one["account_id"], one["detail"]) for one in refreshd("audit", *words, "--json").lines
    ]


def test_every_command_that_changes_or_shows_something_leaves_an_entry(
    refreshd: Refreshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REFRESHD_ACTOR", "deploy-bot")
    monkeypatch.setenv("REFRESHD_ACCOUNT_CLIENT_SECRET", "hush-hush")
    monkeypatch.setenv("REFRESHD_ACCOUNT_REFRESH_TOKEN", "hush-hush too")
    for words in (
        ("accounts", "add", "d", "provider=acme", "client_id=c", "token_url=https://acme.example/t"),
        ("accounts", "edit", "a", "client_secret", "session_timeout_s=60"),
        ("accounts", "edit", "a", "session_timeout_s=60"),  # changes nothing
        ("accounts", "disable", "a"),
        ("accounts", "enable", "a"),
        ("token", "a"),
        ("token", "a", "--reveal"),
        ("accounts", "export", str(tmp_path / "all.jsonl"), "--with-secrets"),
        ("pause", "a", "--for", "1h"),
        ("pause", "--all"),
        ("pause", "--provider", "other", "--reason", "why"),
        ("resume", "--provider", "other"),
        ("keys", "rotate", "--force"),
        ("db", "restored"),
        ("accounts", "remove", "b", "--yes"),
    ):
        assert refreshd(*words).exit_code == 0, words

    (imported, *entries) = trail(refreshd)

    assert imported == ("import", None, {"added": 3, "file": imported[2]["file"], "replace_tokens": False})
    assert entries == [
        ("add", "d", {}),
        ("edit", "a", {"fields": ["session_timeout_s", "client_secret"]}),
        ("disable", "a", {"fields": ["refresh_enabled"]}),
        ("enable", "a", {"fields": ["refresh_enabled"]}),
        ("reveal", "a", {"generation": 1}),
        ("export", None, {"file": str(tmp_path / "all.jsonl"), "with_secrets": True}),
        ("pause", "a", {"for_s": 3600.0, "scope": "account"}),
        ("pause", None, {"scope": "all"}),
        ("pause", None, {"reason": "why", "scope": "provider"}),
        ("resume", None, {"scope": "provider"}),
        ("keys_rotate", None, {"key": load_cipher(load_settings()).writing_key}),
        ("db_restored", None, {"raised": 0, "kept": 0}),
        ("remove", "b", {}),
    ]
    assert "hush-hush" not in refreshd("audit", "--json").stdout
    assert {one["actor"] for one in refreshd("audit", "--json").lines[1:]} == {"deploy-bot"}


def test_what_is_asked_of_workers_is_written_down_whether_or_not_one_takes_it(
    refreshd: Refreshd, stores: redis.Redis
) -> None:
    offer = CallbackCatalog.from_json(
        {"callbacks": {"mine": {"kind": "python", "where": "here.py:1"}}, "problems": {}}
    )
    CallbackHeartbeats(stores, "refreshd:").announce("callback@one", offer)
    said = run(
        {**os.environ, "REFRESHD_ACTOR": "mia"},
        [
            ("refresh", "a"),  # is not due, and nothing is asked
            ("refresh", "a", "b", "--force"),
            ("callbacks", "test", "mine", "--account", "c", "--apply", "--timeout", "1"),
        ],
    )
    assert [answer.splitlines()[0] for answer in said.values() if answer] == [
        *("exit code 0", "exit code 0", "exit code 5"),
    ], said

    assert sorted(trail(refreshd)[1:], key=lambda entry: str(entry[1])) == [  # a and b at once
        ("refresh", "a", {"generation": 1}),
        ("refresh", "b", {"generation": 1}),
        ("callback_test", "c", {"callback": "mine"}),
    ]
    assert {one["actor"] for one in refreshd("audit", "--json").lines[1:]} == {"mia"}
    assert {one["host"] for one in refreshd("audit", "--json").lines} == {socket.gethostname()}


def test_an_import_is_one_entry_that_says_what_it_stored_and_what_not(
    refreshd: Refreshd, file: Write
) -> None:
    path = file(acme("a", scope="y"), acme("d"), {"id": "no good"})
    refreshd("accounts", "import", str(path))
    assert trail(refreshd)[-1] == (
        "import",
        None,
        {"file": str(path), "replace_tokens": False, "added": 1, "changed": 1, "failed": 1},
    )


def test_an_edit_that_is_not_stored_leaves_no_entry(refreshd: Refreshd) -> None:
    before = trail(refreshd)
    assert refreshd("accounts", "edit", "a", "token_url=ftp://x").exit_code == 2
    assert trail(refreshd) == before


def test_the_history_of_an_account_holds_what_people_did_to_it_and_its_pauses(refreshd: Refreshd) -> None:
    refreshd("accounts", "disable", "a")
    refreshd("pause", "--provider", "acme")
    refreshd("pause", "--provider", "other")
    refreshd("pause", "--all")
    lines = refreshd("history", "a", "--json").lines
    assert [(one["kind"], one["action"], one["provider"]) for one in lines] == [
        ("audit", "disable", "acme"),
        ("audit", "pause", "acme"),
        ("audit", "pause", None),
    ]
    assert "disable        a  fields refresh_enabled" in refreshd("history", "a").stdout
    none_tried = "No refresh was tried yet"
    assert none_tried in refreshd("history", "a").stderr
    assert none_tried not in refreshd("history", "a", "--limit", "1").stderr  # older entries may be refreshes


def test_a_removed_account_keeps_its_trail_and_loses_its_pause(refreshd: Refreshd) -> None:
    refreshd("pause", "a")
    refreshd("accounts", "remove", "a", "--yes")
    assert [action for action, _, _ in trail(refreshd, "a")] == ["pause", "remove"]
    assert refreshd("pause", "--json").stdout == ""


@pytest.mark.parametrize(
    ("words", "exit_code", "says"),
    [
        (["audit", "nobody"], 3, "unknown account 'nobody'"),
        (["audit", "--since", "yesterday"], 2, "--since: 'yesterday': not a duration; expected 90s"),
        (["audit", "a"], 0, "Nothing yet"),
    ],
)
def test_what_is_not_there_is_said(refreshd: Refreshd, words: list[str], exit_code: int, says: str) -> None:
    ran = refreshd(*words)
    assert (ran.exit_code, says in ran.stderr) == (exit_code, True)
