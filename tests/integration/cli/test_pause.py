"""`refreshd pause` and `resume`, as their users type them."""

from __future__ import annotations

import pytest

from tests.integration.accounts.conftest import Refreshd

pytestmark = pytest.mark.usefixtures("three")


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """SQLite alone: tests/integration/scheduling/test_pauses.py tries the same SQL on both databases."""
    return sqlite_url


def test_nothing_paused_says_how_to_pause(refreshd: Refreshd) -> None:
    assert "Nothing is paused. `refreshd pause ACCOUNT...`" in refreshd("pause").stdout


def test_a_pause_is_shown_with_who_why_and_until_when(
    refreshd: Refreshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REFRESHD_ACTOR", "deploy-bot")
    assert refreshd("pause", "--provider", "ACME", "--reason", "an outage", "--for", "2h").exit_code == 0
    shown = refreshd("pause").stdout
    assert shown.startswith("provider acme since ")
    assert ", ends in 1h 59m, by deploy-bot@" in shown or ", ends in 2h, by deploy-bot@" in shown
    assert shown.endswith(": an outage\n")


def test_a_label_is_paused_shown_and_resumed(refreshd: Refreshd) -> None:
    refreshd("accounts", "edit", "a", "labels.tenant=acme")
    assert refreshd("pause", "--label", "tenant=acme", "--label", "stage=live", "--json").lines == [
        {"scope": "label", "name": name, "outcome": "paused"} for name in ("tenant=acme", "stage=live")
    ]
    assert "label tenant=acme since " in refreshd("pause").stdout
    assert "label tenant=acme" in refreshd("explain", "a").stdout
    status = refreshd("status", "--json").json
    assert {one["name"] for one in status["pauses"]} == {"tenant=acme", "stage=live"}
    assert refreshd("resume", "--label", "tenant=acme").stdout == "label tenant=acme: resumed\n"
    assert refreshd("pause", "--label", "tenant").exit_code == 2


def test_the_status_of_a_label_is_that_of_its_accounts(refreshd: Refreshd) -> None:
    refreshd("accounts", "edit", "a", "labels.tenant=acme")
    seen = refreshd("status", "--label", "tenant=acme", "--json").json
    assert (seen["accounts"], seen["statuses"]["active"], seen["overdue"]) == (1, 1, 0)
    assert "acme" in refreshd("status", "--label", "tenant=acme").stdout
    assert "No account has these labels" in refreshd("status", "--label", "tenant=beta").stdout


def test_pausing_twice_keeps_the_beginning_and_takes_the_new_reason(refreshd: Refreshd) -> None:
    assert [one["outcome"] for one in refreshd("pause", "a", "b", "--json").lines] == ["paused"] * 2
    (before, _) = refreshd("pause", "--json").lines
    assert refreshd("pause", "a", "--reason", "why", "--json").lines == [
        {"scope": "account", "name": "a", "outcome": "paused_already"}
    ]
    after = {one["name"]: one for one in refreshd("pause", "--json").lines}["a"]
    assert (after["paused_at"], after["reason"]) == (before["paused_at"], "why")


def test_resume_says_what_still_holds_it(refreshd: Refreshd) -> None:
    refreshd("pause", "--all")
    refreshd("pause", "a")
    assert refreshd("resume", "a").stdout == "account a: resumed; still paused: everything\n"
    assert refreshd("resume", "a", "--json").lines == [
        {
            "scope": "account",
            "name": "a",
            "outcome": "not_paused",
            "still_paused": [{"scope": "all", "name": ""}],
        }
    ]
    assert refreshd("resume", "--all").stdout == "everything: resumed\n"


@pytest.mark.parametrize(
    ("words", "exit_code", "says"),
    [
        (["pause", "nobody"], 3, "unknown account 'nobody'"),
        (["pause", "a", "nobody"], 3, "unknown account 'nobody'"),
        (["pause", "--provider", "acne"], 2, "--provider: no account is of a provider 'acne'"),
        (["pause", "a", "--for", "soon"], 2, "--for: 'soon': not a duration; expected 90s"),
        (["pause", "a", "--for", "0s"], 2, "--for: '0s': not a duration; expected 90s"),
        (["pause", "--reason", "why"], 2, "say what"),
        (["resume"], 2, "say what"),
        (["resume", "nobody"], 3, "unknown account 'nobody'"),
    ],
)
def test_what_can_not_be_done_says_why_and_does_nothing(
    refreshd: Refreshd, words: list[str], exit_code: int, says: str
) -> None:
    ran = refreshd(*words)
    assert (ran.exit_code, says in ran.stderr) == (exit_code, True), ran.stderr
    assert refreshd("pause", "--json").stdout == ""
