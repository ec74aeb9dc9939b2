"""`refreshd keys`, as its users type it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import redis
from sqlalchemy import Engine, event, make_url

from models.token import Secret
from tests.integration.accounts.conftest import KEY, Refreshd
from worker.crypto.cipher import Cipher, generate_key, parse_keys
from worker.crypto.intake import IntakeSealer
from worker.redis.clock_offsets import ClockOffsets
from worker.settings import load_settings

pytestmark = pytest.mark.usefixtures("three", "both_keys")
NEW = generate_key("new")


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """SQLite alone: tests/integration/db/test_rekey.py tries the same SQL on both databases."""
    return sqlite_url


@pytest.fixture
def both_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REFRESHD_KEYS", f"{NEW},{KEY}")


@pytest.fixture(autouse=True)
def workers(monkeypatch: pytest.MonkeyPatch) -> dict[str, frozenset[str] | None]:
    """Stand in for what running workers answer: tests/e2e/test_rotated_keys.py asks one that runs."""
    found: dict[str, frozenset[str] | None] = {}
    monkeypatch.setattr("worker.cli.keys.stored.worker_keys", lambda: found)
    return found


def test_nothing_is_sealed_anew_while_a_worker_lacks_the_key(
    refreshd: Refreshd, stores: redis.Redis, workers: dict[str, frozenset[str] | None]
) -> None:
    old = KEY.partition(":")[0]
    workers |= {"one@vm": frozenset({old}), "two@vm": frozenset({"new", old}), "three@vm": None}
    offsets = ClockOffsets(stores, "refreshd:")
    for process in ("one@vm", "two@vm", "three@vm", "four@vm", "beat@vm"):
        offsets.note(process)

    refused = refreshd("keys", "rotate")

    assert (refused.exit_code, refused.stdout) == (2, "")
    said = " ".join(refused.stderr.split())
    assert f"one@vm has {old}; three@vm is of a release that does not say; four@vm did not answer." in said
    assert "Put 'new' into REFRESHD_KEYS of every worker" in said
    assert not [
        row for row in refreshd("keys", "list", "--json").lines if row["key"] == "new" and row["values"]
    ]
    assert refreshd("keys", "rotate", "--force").stdout.startswith(
        "3 accounts looked at, 10 values sealed anew"
    )


def test_a_rotation_is_refused_where_no_worker_can_be_asked(
    refreshd: Refreshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.cli.keys.stored.worker_keys", lambda: None)
    refused = refreshd("keys", "rotate")
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "Redis does not answer. Nothing was changed." in " ".join(refused.stderr.split())


def test_a_rotation_says_what_it_did_and_a_second_one_finds_nothing_to_do(refreshd: Refreshd) -> None:
    first, second = refreshd("keys", "rotate").stdout, refreshd("keys", "rotate").stdout

    assert first.startswith("3 accounts looked at, 10 values sealed anew, 0 values do not open. Took ")
    assert second.startswith("3 accounts looked at, 0 values sealed anew")
    assert {row["key"]: row["values"] for row in refreshd("keys", "list", "--json").lines} == {
        "new": 10,
        KEY.partition(":")[0]: 0,
    }


def test_the_public_half_of_the_writing_key_is_printed(refreshd: Refreshd) -> None:
    printed = refreshd("keys", "intake").stdout.strip()

    sealed = IntakeSealer.of(printed).seal(Secret("secret"), account="a", field="f")
    assert printed.startswith("new:")
    assert Cipher(parse_keys(f"{NEW},{KEY}")).open(sealed, account="a", field="f") == Secret("secret")


def test_a_rotation_that_ctrl_c_stops_says_how_far_it_came_and_is_run_again(
    refreshd: Refreshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.db.repair.rekey.BATCH", 2)
    written = 0

    def ctrl_c(_connection: Any, _cursor: Any, statement: str, *_more: Any) -> None:
        nonlocal written
        if "WHERE id > " in statement:
            written += 1
            if written == 2:
                raise KeyboardInterrupt

    event.listen(Engine, "before_cursor_execute", ctrl_c)
    try:
        stopped = refreshd("keys", "rotate")
    finally:
        event.remove(Engine, "before_cursor_execute", ctrl_c)

    assert (stopped.exit_code, stopped.stdout) == (130, "")
    assert "stopped after 2 of 3 accounts: run the same command again to go on" in stopped.stderr
    assert refreshd("keys", "rotate").stdout.startswith("3 accounts looked at, 4 values sealed anew")


def test_no_key_is_made_over_values_that_another_sealed(
    refreshd: Refreshd, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = tmp_path / "other-data"
    monkeypatch.delenv("REFRESHD_KEYS")
    monkeypatch.setenv("REFRESHD_DATA_DIR", str(folder))

    refused = refreshd("accounts", "add", "d", "token_url=https://a.example.com/t", "refresh_token=rt")
    told = refreshd("explain", "a")

    assert (refused.exit_code, told.exit_code) == (2, 1)
    id_of = KEY.partition(":")[0]
    assert f"no key is set, and {make_url(load_settings().database).database} has values" in refused.stderr
    assert f"sealed with '{id_of}'" in refused.stderr
    assert "REFRESHD_KEYS_COMMAND" in refused.stderr
    assert "Traceback" not in told.stderr
    assert not (folder / "keys").exists(), "neither made one"
