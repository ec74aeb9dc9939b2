"""One refusal is asked again where that is free; a refusal behind a failure is reported as what it probably is."""

from __future__ import annotations

from typing import Any

import pytest

from models.answer import Judgement, Verdict
from models.providers import Provider
from models.tables.account import Account, Status
from models.tables.attempt import Trigger
from worker.policy.backoff import Consequence, consequence
from worker.policy.confirmation import CONFIRM_AFTER_S, Refusal, reconsidered, second_try_is_free
from worker.policy.reasons.login import PROBABLY_DEAD, TO_BE_CONFIRMED

NOW = 10_000.0
STAYS = {"rotates": False}


def account(**fields: Any) -> Account:
    known: dict[str, Any] = {
        "id": "a",
        "provider": "acme",
        "expires_at": NOW + 600,
        "next_refresh_at": NOW - 1,
    }
    return Account(**(known | fields))


def after(
    row: Account,
    knobs: dict[str, Any],
    *,
    verdict: Verdict = Verdict.REAUTHORIZE,
    reason: str = "invalid_grant",
    trigger: Trigger = Trigger.PLANNED,
    error: str | None = "invalid_grant",
    status: int | None = 400,
    counts: bool = True,
) -> tuple[Consequence, str]:
    judgement = Judgement(verdict=verdict, reason=reason)
    alone = consequence(
        judgement,
        has_token=True,
        failures=row.failures,
        expires_at=row.expires_at,
        jitter=0.5,
        now=NOW,
        max_s=3600,
    )
    alone = Consequence(alone.status, alone.retry_at, counts=alone.counts and counts)
    refused = Refusal(judgement=judgement, trigger=trigger, error=error, http_status=status)
    return reconsidered(refused, alone, row, Provider(name="acme", **knobs), now=NOW)


@pytest.mark.parametrize(
    ("knobs", "free"),
    [
        ({}, False),
        ({"rotates": True}, False),
        ({"rotates": False}, True),
        ({"rotates": True, "replay_grace_s": 30}, True),
        ({"rotates": True, "replay_until_used": True}, True),
        ({"grant": "client_credentials"}, True),
        ({"grant": "jwt_bearer"}, True),
        ({"grant": "login"}, False),
    ],
)
def test_a_second_try_is_free_where_the_provider_does_not_end_what_is_replayed(
    knobs: dict[str, Any], free: bool
) -> None:
    assert second_try_is_free(Provider(name="acme", **knobs)) is free
    first, reason = after(account(), knobs)
    assert (reason == TO_BE_CONFIRMED) is free
    assert first.status is (Status.ACTIVE if free else Status.REAUTHORIZE)


@pytest.mark.parametrize(
    ("knobs", "expires_at", "status", "wait_s"),
    [
        (STAYS, NOW + 600, Status.ACTIVE, CONFIRM_AFTER_S),
        (STAYS, None, Status.ACTIVE, CONFIRM_AFTER_S),
        (STAYS, NOW - 1, Status.DEGRADED, CONFIRM_AFTER_S),
        ({"rotates": True, "replay_grace_s": 10}, NOW + 600, Status.ACTIVE, 5),
        ({"rotates": True, "replay_grace_s": 1800}, NOW + 600, Status.ACTIVE, CONFIRM_AFTER_S),
        ({"replay_grace_s": 10, "replay_until_used": True}, NOW + 600, Status.ACTIVE, CONFIRM_AFTER_S),
    ],
)
def test_the_second_try_comes_after_a_minute_or_within_the_grace(
    knobs: dict[str, Any], expires_at: float | None, status: Status, wait_s: float
) -> None:
    first, reason = after(account(expires_at=expires_at), knobs)
    assert (first, reason) == (Consequence(status, NOW + wait_s, counts=False), TO_BE_CONFIRMED)


def test_the_second_refusal_is_final_and_one_that_comes_too_soon_is_none() -> None:
    asked = {"reason": TO_BE_CONFIRMED}
    final, reason = after(account(**asked, status_at=NOW - CONFIRM_AFTER_S), STAYS)
    assert (final.status, final.retry_at, reason) == (Status.REAUTHORIZE, None, "invalid_grant")
    early, reason = after(account(**asked, status_at=NOW - 1), STAYS, trigger=Trigger.REPORTED)
    assert (early.retry_at, reason) == (NOW - 1 + CONFIRM_AFTER_S, TO_BE_CONFIRMED)
    by_hand, _ = after(account(**asked, status_at=NOW - 1), STAYS, trigger=Trigger.FORCED)
    assert by_hand.status is Status.REAUTHORIZE


@pytest.mark.parametrize(
    "fields",
    [
        {"next_refresh_at": None},
        {"refresh_enabled": False},
        {"status": Status.REAUTHORIZE, "next_refresh_at": NOW},
    ],
)
def test_a_refusal_without_a_next_try_is_final_at_once(fields: dict[str, Any]) -> None:
    assert after(account(**fields), STAYS)[1] == "invalid_grant"


@pytest.mark.parametrize("open_reason", [TO_BE_CONFIRMED, PROBABLY_DEAD])
@pytest.mark.parametrize("verdict", [Verdict.RETRY, Verdict.RATE_LIMITED])
def test_a_provider_that_is_busy_or_away_meanwhile_decides_nothing(
    verdict: Verdict, open_reason: str
) -> None:
    row = account(reason=open_reason, status_at=NOW - 90)
    assert after(row, STAYS, verdict=verdict, reason="connection_failed", status=None)[1] == open_reason
    other = after(row, STAYS, verdict=Verdict.MISCONFIGURED, reason="invalid_client")
    assert other[1] == "invalid_client"


@pytest.mark.parametrize(
    ("reason", "error", "failures", "dead"),
    [
        ("refused_behind_a_failure", None, 3, False),
        ("refused_behind_a_failure", None, 4, True),
        ("server_error", "server_error", 8, False),
        ("server_error", "server_error", 9, True),
        ("server_error", None, 99, False),  # a gateway's page: an outage, however long it lasts
        ("temporarily_unavailable", "temporarily_unavailable", 99, False),
        ("page_instead_of_answer", None, 99, False),
    ],
)
def test_a_refusal_that_repeats_behind_a_failure_is_probably_a_dead_grant(
    reason: str, error: str | None, failures: int, dead: bool
) -> None:
    row = account(expires_at=NOW - 1, failures=failures)
    found, reported = after(row, {}, verdict=Verdict.RETRY, reason=reason, error=error, status=500)
    assert reported == (PROBABLY_DEAD if dead else reason)
    assert found.status is Status.DEGRADED
    assert found.retry_at is not None
    assert found.retry_at > NOW


def test_no_grant_counts_as_dead_while_a_token_lives_or_every_account_fails() -> None:
    failed = {"verdict": Verdict.RETRY, "reason": "server_error", "error": "server_error", "status": 500}
    assert after(account(failures=50), {}, **failed)[1] == "server_error"  # type: ignore[arg-type]
    row = account(failures=50, expires_at=NOW - 1)
    assert after(row, {}, **failed, counts=False)[1] == "server_error"  # type: ignore[arg-type]
    unknown = after(account(failures=50, expires_at=None), {}, **failed)  # type: ignore[arg-type]
    assert (unknown[0].status, unknown[1]) == (Status.DEGRADED, PROBABLY_DEAD)
    silent = failed | {"error": "connect", "status": None}
    assert after(row, {}, **silent)[1] == "server_error"  # type: ignore[arg-type]
