"""Named transitions of an account's row: what each changes, and what it leaves."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from models.tables.account import (
    RECONFIGURED,
    SAME_END_S,
    Account,
    SealedTokens,
    Status,
    fingerprint,
    read_extra,
    write_extra,
)
from models.token import Secret

NOW = 1_000.0
TOKENS = SealedTokens(
    access_token_sealed="sealed access",
    refresh_token_sealed="sealed refresh",
    refresh_fp="fp",
    token_type="DPoP",
    scope="read",
    issued_at=900.0,
    expires_at=4_500.0,
    refresh_token_expires_at=90_000.0,
    extra='{"a": "b"}',
)


def account(**fields: Any) -> Account:
    """An account in the midst of an attempt, after failures."""
    return Account(
        **{
            "id": "a",
            "provider": "p",
            "generation": 3,
            "config_version": 5,
            "status": Status.DEGRADED,
            "reason": "timed_out",
            "status_at": 1.0,
            "failures": 2,
            "next_refresh_at": 900.0,
            "plan_at": 960.0,
            "claim_attempt": "x",
            "claim_until": 1_050.0,
            **fields,
        }
    )


def changed(row: Account, before: Account) -> dict[str, Any]:
    """Return the columns that are not what they were."""
    was = before.model_dump()
    return {name: value for name, value in row.model_dump().items() if value != was[name]}


@pytest.mark.parametrize(
    ("enabled", "status"), [(True, Status.ACTIVE), (False, Status.DISABLED)], ids=["enabled", "disabled"]
)
def test_a_token_set_is_one_generation_on_and_ends_what_was_wrong(enabled: bool, status: Status) -> None:
    row = account(refresh_enabled=enabled)
    row.refreshed(TOKENS, next_refresh_at=4_000.0, due_reason="before_expiry", jitter=0.25, now=NOW)
    assert changed(row, account(refresh_enabled=enabled)) == {
        "access_token_sealed": "sealed access",
        "refresh_token_sealed": "sealed refresh",
        "refresh_fp": "fp",
        "token_type": "DPoP",
        "scope": "read",
        "issued_at": 900.0,
        "expires_at": 4_500.0,
        "refresh_token_expires_at": 90_000.0,
        "extra": '{"a": "b"}',
        "generation": 4,
        "jitter": 0.25,
        "failures": 0,
        "succeeded_at": NOW,
        "next_refresh_at": 4_000.0,
        "plan_at": 4_000.0,
        "due_reason": "before_expiry",
        "status": status,
        "reason": None,
        "status_at": NOW,
        "claim_attempt": None,
        "claim_until": None,
    }


@pytest.mark.parametrize(
    ("was", "is_now", "fixed"),
    [
        (90_000.0, 90_000.0, True),
        (90_000.0, 90_000.0 + SAME_END_S, True),  # counted from the moment of an answer
        (90_000.0, 90_000.0 - SAME_END_S, True),
        (90_000.0, 90_000.0 + SAME_END_S + 1, False),
        (90_000.0, 90_000.0 - SAME_END_S - 1, False),
        (None, 90_000.0, False),
        (90_000.0, None, False),
    ],
)
def test_an_end_that_a_refresh_does_not_move_is_fixed(
    was: float | None, is_now: float | None, fixed: bool
) -> None:
    row = account(refresh_token_expires_at=was, refresh_token_end_fixed=not fixed)
    tokens = replace(TOKENS, refresh_token_expires_at=is_now)
    row.refreshed(tokens, next_refresh_at=None, due_reason="", jitter=0.0, now=NOW)
    assert row.refresh_token_end_fixed is fixed


@pytest.mark.parametrize("counts", [True, False])
def test_a_failure_keeps_every_credential_and_is_tried_again_later(counts: bool) -> None:
    row = account()
    row.failed(status=Status.MISCONFIGURED, reason="bad", retry_at=2_000.0, counts=counts, now=NOW)
    assert changed(row, account()) == {
        **({"failures": 3} if counts else {}),
        "failed_at": NOW,
        "status": Status.MISCONFIGURED,
        "reason": "bad",
        "status_at": NOW,
        "next_refresh_at": 2_000.0,
        "plan_at": 2_000.0,
        "due_reason": "bad",
        "claim_attempt": None,
        "claim_until": None,
    }


@pytest.mark.parametrize(
    ("status", "reason", "since"),
    [(Status.DEGRADED, "timed_out", 1.0), (Status.DEGRADED, "x", NOW), (Status.ACTIVE, "timed_out", NOW)],
)
def test_a_status_is_as_old_as_its_reason(status: Status, reason: str, since: float) -> None:
    row = account()
    row.failed(status=status, reason=reason, retry_at=None, counts=False, now=NOW)
    assert row.status_at == since


@pytest.mark.parametrize(
    ("due_at", "retry_at", "plan_at"),
    [(900.0, 2_000.0, 2_000.0), (3_000.0, 2_000.0, 3_000.0), (None, 2_000.0, None), (900.0, None, None)],
)
def test_an_attempt_that_sent_nothing_teaches_nothing(
    due_at: float | None, retry_at: float | None, plan_at: float | None
) -> None:
    row = account(next_refresh_at=due_at)
    row.given_back(retry_at=retry_at)
    wanted = {"plan_at": plan_at, "claim_attempt": None, "claim_until": None}
    assert changed(row, account(next_refresh_at=due_at)) == wanted


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({}, {"status": Status.ACTIVE, "reason": RECONFIGURED, "status_at": NOW}),
        ({"reason": RECONFIGURED, "status": Status.ACTIVE}, {}),
        (
            {"reason": "timed_out", "status": Status.ACTIVE},
            {"reason": None, "status_at": NOW},
        ),
        ({"refresh_enabled": False}, {"status": Status.DISABLED, "reason": None, "status_at": NOW}),
    ],
)
def test_an_edit_ends_failures_and_says_so_until_a_token_comes(
    fields: dict[str, Any], wanted: dict[str, Any]
) -> None:
    row = account(**fields)
    row.reconfigured(now=NOW)
    assert changed(row, account(**fields)) == {"config_version": 6, "failures": 0, **wanted}


def test_disabling_takes_the_account_out_of_the_plan_and_enabling_leaves_that_to_the_policy() -> None:
    row = account(status=Status.ACTIVE, reason=None)
    row.disable(now=NOW)
    assert (row.refresh_enabled, row.status, row.next_refresh_at, row.plan_at) == (
        False,
        Status.DISABLED,
        None,
        None,
    )
    assert (row.due_reason, row.config_version) == ("refresh_disabled", 6)
    row.enable(now=NOW)
    assert (row.refresh_enabled, row.status, row.config_version) == (True, Status.ACTIVE, 7)


@pytest.mark.parametrize(
    ("status", "reason", "troubled"),
    [
        (Status.ACTIVE, None, False),
        (Status.ACTIVE, "timed_out", False),
        (Status.ACTIVE, RECONFIGURED, True),
        (Status.DEGRADED, None, True),
        (Status.REAUTHORIZE, "x", True),
        (Status.MISCONFIGURED, "x", True),
        (Status.DISABLED, None, False),
    ],
)
def test_who_is_told_to_be_well_again(status: Status, reason: str | None, troubled: bool) -> None:
    assert account(status=status, reason=reason).is_troubled is troubled


@pytest.mark.parametrize(("extra", "text"), [({}, "{}"), ({"a": "ä"}, '{"a": "\\u00e4"}')])
def test_what_stands_beside_a_token_is_one_text(extra: dict[str, str], text: str) -> None:
    assert write_extra(extra) == text
    assert read_extra(text) == extra


def test_a_secret_has_a_fingerprint_and_no_secret_has_none() -> None:
    assert fingerprint(Secret("a")) == Secret("a").fingerprint() != fingerprint(Secret("b"))
    assert fingerprint(None) is None
