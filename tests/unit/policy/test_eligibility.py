"""May this account be refreshed now?"""

from __future__ import annotations

from typing import Any

import pytest

from models.tables.account import Account, SessionManagement, Status
from models.tables.attempt import Attempt, Outcome, Trigger
from refreshd_reader.contract import PAUSED
from worker.policy.eligibility import Skip, skip_reason
from worker.policy.reasons import skipped
from worker.policy.reasons.login import NEEDS_REAUTHORIZATION
from worker.policy.reasons.skipped import FRESH_TOKENS_REJECTED, REPORTED_TOO_SOON
from worker.policy.rejected_tokens import report_refusal

NOW = 1_000.0
DUE: dict[str, Any] = {"id": "a", "provider": "p", "generation": 3, "next_refresh_at": NOW}


@pytest.mark.parametrize(
    ("fields", "trigger", "wanted"),
    [
        ({}, Trigger.PLANNED, None),
        ({"generation": 4}, Trigger.FORCED, Skip(Outcome.SUPERSEDED, skipped.GENERATION_MOVED)),
        ({"generation": 2}, Trigger.PLANNED, Skip(Outcome.SUPERSEDED, skipped.GENERATION_MOVED)),
        (
            {"claim_attempt": "x", "claim_until": NOW + 1},
            Trigger.FORCED,
            Skip(Outcome.BUSY, skipped.ATTEMPT_OPEN),
        ),
        ({"claim_attempt": "x", "claim_until": NOW}, Trigger.PLANNED, None),
        # Interrupted: what it holds may be spent, whenever it is due.
        ({"claim_attempt": "x", "claim_until": NOW, "next_refresh_at": NOW + 3600}, Trigger.PLANNED, None),
        ({"claim_attempt": "x", "claim_until": NOW, "next_refresh_at": None}, Trigger.PLANNED, None),
        ({"refresh_enabled": False}, Trigger.PLANNED, Skip(Outcome.DISABLED, skipped.REFRESH_DISABLED)),
        ({"refresh_enabled": False}, Trigger.REPORTED, Skip(Outcome.DISABLED, skipped.REFRESH_DISABLED)),
        ({"refresh_enabled": False}, Trigger.FORCED, None),
        (
            {"session_management": SessionManagement.NONE},
            Trigger.REPORTED,
            Skip(Outcome.NOT_DUE, skipped.SESSION_NONE),
        ),
        ({"session_management": SessionManagement.NONE}, Trigger.FORCED, None),
        ({"next_refresh_at": NOW + 60}, Trigger.PLANNED, Skip(Outcome.NOT_DUE, skipped.NOT_DUE_YET)),
        ({"next_refresh_at": NOW + 60}, Trigger.REPORTED, None),
        ({"next_refresh_at": NOW + 60}, Trigger.FORCED, None),
        ({"next_refresh_at": None}, Trigger.PLANNED, Skip(Outcome.NOT_DUE, skipped.NOT_DUE_YET)),
        (
            {"status": Status.REAUTHORIZE},
            Trigger.REPORTED,
            Skip(Outcome.NOT_DUE, NEEDS_REAUTHORIZATION),
        ),
        ({"status": Status.REAUTHORIZE}, Trigger.FORCED, None),
    ],
)
def test_the_gate(fields: dict[str, Any], trigger: Trigger, wanted: Skip | None) -> None:
    assert skip_reason(Account(**(DUE | fields)), seen=3, trigger=trigger, now=NOW) == wanted


def test_an_account_that_is_gone_is_superseded() -> None:
    found = skip_reason(None, seen=3, trigger=Trigger.PLANNED, now=NOW)
    assert found == Skip(Outcome.SUPERSEDED, skipped.UNKNOWN_ACCOUNT)


def attempt(trigger: Trigger, seconds_ago: float, outcome: Outcome = Outcome.REFRESHED) -> Attempt:
    return Attempt(
        id=f"{seconds_ago}",
        account_id="a",
        trigger=trigger,
        opened_at=NOW - seconds_ago,
        generation=1,
        generation_after=2 if outcome is Outcome.REFRESHED else None,
        config_version=1,
        outcome=outcome,
    )


@pytest.mark.parametrize(
    ("history", "reason"),
    [
        ([], None),
        ([(Trigger.PLANNED, 5)], None),
        ([(Trigger.REPORTED, 5)], REPORTED_TOO_SOON),
        ([(Trigger.REPORTED, 60)], None),
        ([(Trigger.REPORTED, 60), (Trigger.REPORTED, 120)], None),
        ([(Trigger.REPORTED, 30), (Trigger.REPORTED, 60), (Trigger.REPORTED, 90)], FRESH_TOKENS_REJECTED),
        # Each of these was used for a minute before the API refused it: they end early, and no permission is missing.
        ([(Trigger.REPORTED, 60), (Trigger.REPORTED, 120), (Trigger.REPORTED, 180)], None),
        ([(Trigger.REPORTED, 60), (Trigger.PLANNED, 120), (Trigger.REPORTED, 180)], None),
        # What brought no token proves nothing of the tokens, and is tried again.
        ([(Trigger.REPORTED, 5, Outcome.RETRY)], None),
        (
            [
                (Trigger.PLANNED, 15, Outcome.RETRY),
                (Trigger.REPORTED, 30),
                (Trigger.REPORTED, 60),
                (Trigger.REPORTED, 90),
                (Trigger.PLANNED, 240),
            ],
            FRESH_TOKENS_REJECTED,
        ),
        ([(Trigger.REPORTED, 60), (Trigger.REPORTED, 120), (Trigger.REPORTED, 9_000)], None),
    ],
)
def test_a_report_is_no_licence_to_hammer(
    history: list[tuple[Trigger, float] | tuple[Trigger, float, Outcome]], reason: str | None
) -> None:
    found = report_refusal([attempt(*one) for one in history], now=NOW)
    assert (found.reason if found else None) == reason


@pytest.mark.parametrize(
    ("fields", "trigger", "wanted"),
    [
        ({}, Trigger.PLANNED, Skip(Outcome.DISABLED, PAUSED)),
        ({}, Trigger.REPORTED, Skip(Outcome.DISABLED, PAUSED)),
        ({"claim_attempt": "x", "claim_until": NOW}, Trigger.PLANNED, Skip(Outcome.DISABLED, PAUSED)),
        ({}, Trigger.FORCED, None),
        ({}, Trigger.TEST, None),
        ({"generation": 4}, Trigger.PLANNED, Skip(Outcome.SUPERSEDED, skipped.GENERATION_MOVED)),
        ({"refresh_enabled": False}, Trigger.PLANNED, Skip(Outcome.DISABLED, skipped.REFRESH_DISABLED)),
    ],
)
def test_what_is_paused_is_refreshed_by_a_persons_word_alone(
    fields: dict[str, Any], trigger: Trigger, wanted: Skip | None
) -> None:
    account = Account(**(DUE | fields))
    assert skip_reason(account, seen=3, trigger=trigger, now=NOW, paused=True) == wanted
