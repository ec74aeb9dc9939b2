"""A key that is lost for good: what it sealed is replaced by the same values, given anew."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import pytest

from tests.integration.accounts.conftest import Refreshd, acme
from worker.crypto.cipher import generate_key

NEW_KEY: Final = generate_key("found")
ROW: Final = acme("a", custom_fields={"region": "eu"})


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """SQLite alone: nothing here is SQL."""
    return sqlite_url


@pytest.fixture(autouse=True)
def lost(refreshd: Refreshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have an account whose secrets were sealed with a key that is gone; returns the file that it came from."""
    file = tmp_path / "all.jsonl"
    file.write_text(json.dumps(ROW) + "\n")
    assert refreshd("accounts", "import", str(file)).exit_code == 0
    monkeypatch.setenv("REFRESHD_KEYS", NEW_KEY)
    assert refreshd("keys", "check").exit_code == 1
    return file


def test_an_import_that_replaces_tokens_replaces_what_does_not_open(refreshd: Refreshd, lost: Path) -> None:
    refused = refreshd("accounts", "import", str(lost))
    assert refused.exit_code == 1
    assert "--replace-tokens" in refused.stderr

    done = refreshd("accounts", "import", str(lost), "--replace-tokens", "--json")

    assert (done.exit_code, done.json["changed"]) == (0, 1), done.stdout
    assert refreshd("keys", "check").exit_code == 0
    assert refreshd("token", "a", "--reveal").stdout.strip() == ROW["access_token"]


def test_an_edit_that_gives_the_secrets_needs_no_access_token(refreshd: Refreshd, tmp_path: Path) -> None:
    for name in ("client_secret", "refresh_token"):
        (tmp_path / name).write_text(str(ROW[name]))
    secrets = [f"{name}=@{tmp_path / name}" for name in ("client_secret", "refresh_token")]

    without = refreshd("accounts", "edit", "a", *secrets)
    assert without.exit_code != 0
    assert "custom_fields of account a is sealed with key" in " ".join(without.stderr.split())

    done = refreshd("accounts", "edit", "a", *secrets, "custom_fields.region=eu")

    assert done.exit_code == 0, done.stderr
    assert refreshd("keys", "check").exit_code == 0
    (account,) = refreshd("accounts", "show", "a", "--json").lines
    assert account["due_reason"] == "no_access_token_yet"


def test_a_grant_replaces_the_tokens_alone(refreshd: Refreshd, tmp_path: Path) -> None:
    grant = tmp_path / "grant.json"
    grant.write_text(
        json.dumps({"access_token": "new-access", "refresh_token": "new-refresh", "expires_in": 60})
    )
    assert refreshd("accounts", "grant", "a", str(grant)).exit_code == 0
    checked = refreshd("keys", "check", "--json")
    assert sorted(one["field"] for one in checked.json["unreadable"]) == ["client_secret", "custom_fields"]


def test_a_refresh_token_that_does_not_open_is_not_given_up_for_an_access_token(
    refreshd: Refreshd, tmp_path: Path
) -> None:
    (tmp_path / "access").write_text("another-access")
    secrets = [f"access_token=@{tmp_path / 'access'}", "client_secret=", "custom_fields.region=eu"]
    refused = refreshd("accounts", "edit", "a", "refresh_enabled=false", *secrets)
    assert refused.exit_code != 0
    assert "refresh_token of account a is sealed with key" in " ".join(refused.stderr.split())
