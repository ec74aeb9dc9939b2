"""`refreshd accounts grant`: consent again on the command line."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis

from tests.integration.accounts.conftest import Refreshd, acme
from worker.accounts.grants.replacement import GrantStore
from worker.cli.accounts import grant as grant_command
from worker.errors import DatabaseUnreachable
from worker.providers.client import ProviderClient

NEW = {
    "access_token": "marker-access",
    "refresh_token": "marker-refresh",
    "expires_in": 3600,
    "token_type": "bearer",
    "id_token": "not looked at",
}


@pytest.fixture
def account(refreshd: Refreshd, tmp_path: Path) -> str:
    rows = tmp_path / "accounts.jsonl"
    rows.write_text(json.dumps(acme()) + "\n")
    assert refreshd("accounts", "import", str(rows)).exit_code == 0
    return "acme-1"


def response(tmp_path: Path, fields: Any = NEW) -> str:
    path = tmp_path / "token.json"
    path.write_text(json.dumps(fields))
    return str(path)


def test_a_new_grant_is_stored_and_published(
    refreshd: Refreshd, account: str, tmp_path: Path, stores: redis.Redis
) -> None:
    ran = refreshd("accounts", "grant", account, response(tmp_path), "--json")

    assert ran.exit_code == 0, ran.stderr
    assert (ran.json["outcome"], ran.json["generation"], ran.json["published"]) == ("replaced", 2, True)
    assert stores.hget("refreshd:token:{acme-1}", "access_token") == "marker-access"
    assert "marker" not in ran.stdout + ran.stderr
    shown = refreshd("audit", "--json").lines[-1]
    assert (shown["action"], shown["account_id"]) == ("grant", account)


def test_a_token_response_is_read_from_standard_input(
    refreshd: Refreshd, account: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(NEW)))

    ran = refreshd("accounts", "grant", account)

    assert ran.exit_code == 0, ran.stderr
    assert ran.stdout.startswith("acme-1: replaced, generation 2; active")


def test_an_unknown_account_ends_with_its_own_code(refreshd: Refreshd, account: str, tmp_path: Path) -> None:
    assert account
    assert refreshd("accounts", "grant", "nobody", response(tmp_path)).exit_code == 3


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ([], "not a token response"),
        ({}, "access_token: is missing"),
        (NEW | {"expires_in": "soon"}, "expires_in"),
    ],
)
def test_what_is_no_grant_is_refused_in_words(
    refreshd: Refreshd, account: str, tmp_path: Path, fields: Any, words: str
) -> None:
    ran = refreshd("accounts", "grant", account, response(tmp_path, fields))

    assert ran.exit_code == 2
    assert words in ran.stderr
    assert "marker" not in ran.stderr


def test_a_grant_that_does_not_refresh_is_not_stored(
    refreshd: Refreshd, account: str, tmp_path: Path, stores: redis.Redis
) -> None:
    before = stores.hgetall("refreshd:token:{acme-1}")

    ran = refreshd("accounts", "grant", account, response(tmp_path), "--verify")

    assert ran.exit_code == 2
    assert "refresh_token:" in ran.stderr
    assert stores.hgetall("refreshd:token:{acme-1}") == before


def test_an_import_that_keeps_a_newer_token_names_what_takes_the_new_one(
    refreshd: Refreshd, account: str, tmp_path: Path
) -> None:
    refreshd("accounts", "grant", account, response(tmp_path))

    ran = refreshd("accounts", "import", str(tmp_path / "accounts.jsonl"))

    assert "1 kept newer" in ran.stdout
    assert "refreshd accounts grant ID" in ran.stderr


def test_a_tried_grant_that_the_database_does_not_take_waits_in_redis(
    refreshd: Refreshd, account: str, tmp_path: Path, stores: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The token that was given is spent, and its successor is nowhere else."""

    def rotated(_: httpx.Request) -> httpx.Response:
        body = {"access_token": "marker-third", "refresh_token": "marker-third-refresh", "expires_in": 3600}
        return httpx.Response(200, json=body)

    def away(*_: Any, **__: Any) -> None:
        raise DatabaseUnreachable("the database is away")

    client = ProviderClient(transport=httpx.MockTransport(rotated))
    monkeypatch.setattr(grant_command, "provider_client", lambda _: client)
    monkeypatch.setattr(GrantStore, "store_one", away)

    ran = refreshd("accounts", "grant", account, response(tmp_path), "--verify")

    assert ran.exit_code == 4
    assert stores.exists("refreshd:stash:{acme-1}")
    assert f"refreshd refresh {account} --force" in ran.stderr.replace("\n", " ")
    assert "marker" not in ran.stdout + ran.stderr
