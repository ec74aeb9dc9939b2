"""The verdict of `refreshd accounts add --verify`, by how the one refresh ended. `tests/e2e/test_verified_account.py` has a real worker do it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from models.tables.attempt import Attempt, Outcome, Trigger
from tests.integration.accounts.conftest import Refreshd, acme
from worker.cli.refresh import requests

WORDS = [f"{name}={value}" for name, value in acme("first").items() if name != "id"]


def ends(monkeypatch: pytest.MonkeyPatch, outcome: Outcome, **facts: Any) -> None:
    """Have the refresh of the new account end so."""

    def refreshed(_here: object, account: Any) -> Attempt:
        return Attempt(
            id="a", account_id=account.id, trigger=Trigger.FORCED, opened_at=0.0, generation=0, config_version=1,
            outcome=outcome, **facts,
        )  # fmt: skip

    monkeypatch.setattr(requests, "refresh_once", refreshed)


def test_a_refresh_that_the_plan_was_ahead_of_is_no_failure(
    refreshd: Refreshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends(monkeypatch, Outcome.SUPERSEDED)
    ran = refreshd("accounts", "add", "first", *WORDS, "--verify")
    assert (ran.exit_code, ran.stdout.splitlines()[-1]) == (
        0,
        "first: refreshed, generation 1: the account works",
    )


def test_as_json_too(refreshd: Refreshd, monkeypatch: pytest.MonkeyPatch) -> None:
    ends(monkeypatch, Outcome.SUPERSEDED)
    ran = refreshd("accounts", "add", "first", *WORDS, "--verify", "--json")
    assert ran.exit_code == 0
    assert json.loads(ran.stdout)["verified"] == {"outcome": "superseded", "reason": None}


@pytest.mark.parametrize(
    ("outcome", "facts", "words"),
    [
        (
            Outcome.REAUTHORIZE,
            {"reason": "invalid_grant", "http_status": 400, "error_description": "refresh token superseded"},
            "or was used before. The provider's words: refresh token superseded.",
        ),
        (
            Outcome.RETRY,
            {"reason": "connection_failed", "error_description": "refused"},
            "first: not refreshed (retry). No connection to the provider. In detail: refused. It is tried again by itself.",
        ),
    ],
)
def test_what_failed_is_said_with_the_next_command(
    refreshd: Refreshd, monkeypatch: pytest.MonkeyPatch, outcome: Outcome, facts: dict[str, Any], words: str
) -> None:
    ends(monkeypatch, outcome, **facts)
    ran = refreshd("accounts", "add", "first", *WORDS, "--verify")
    assert ran.exit_code == 1
    assert words in ran.stdout
    assert "`refreshd explain first` says what to do" in ran.stdout
