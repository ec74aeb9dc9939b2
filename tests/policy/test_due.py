"""When is a token due? Tables of DESIGN section 2."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.account import SessionManagement
from models.token import Secret, TokenResponse
from worker.policy import due as policy
from worker.policy.due import SessionPolicy, TokenTimes, due, expiry, margin_s, refresh_token_expiry

NOW = 1_000_000.0
AUTO = SessionPolicy()
FIXED = SessionPolicy(session_management=SessionManagement.FIXED, session_timeout_s=900)


@pytest.mark.parametrize(
    ("session", "reason"),
    [
        (SessionPolicy(refresh_enabled=False), policy.REFRESH_DISABLED),
        (
            SessionPolicy(refresh_enabled=False, session_management=SessionManagement.FIXED),
            policy.REFRESH_DISABLED,
        ),
        (SessionPolicy(session_management=SessionManagement.NONE), policy.SESSION_NONE),
    ],
)
def test_disabled_and_none_are_never_due(session: SessionPolicy, reason: str) -> None:
    token = TokenTimes(issued_at=NOW - 10_000, expires_at=NOW - 5_000)
    assert due(session, token, jitter=0.5, now=NOW) == policy.Due(None, reason)


@pytest.mark.parametrize("expires_at", [None, NOW + 10, NOW + 100_000, NOW - 1])
def test_fixed_is_due_at_its_timeout_whatever_the_provider_says(expires_at: float | None) -> None:
    token = TokenTimes(issued_at=NOW - 100, expires_at=expires_at)
    assert due(FIXED, token, jitter=0.9, now=NOW) == policy.Due(NOW + 800, policy.SESSION_TIMEOUT)


def test_fixed_counts_from_the_stored_issue_time_so_a_restart_does_not_start_it_anew() -> None:
    token = TokenTimes(issued_at=NOW - 100)
    first = due(FIXED, token, jitter=0, now=NOW)
    assert due(FIXED, token, jitter=0, now=NOW + 500) == first


@pytest.mark.parametrize(
    ("lifetime_s", "jitter", "due_after_s"),
    [
        (3600, 0.0, 3240),  # a tenth
        (3600, 1.0, 3060),  # and up to half of the margin earlier
        (20, 0.0, 10),  # a short token keeps half of its life
        (20, 1.0, 8),
        (300, 0.0, 240),  # not less than a minute before
        (86_400, 0.0, 85_800),  # not more than ten minutes before
        (1, 0.0, 0.5),
    ],
)
def test_auto_is_due_a_margin_before_the_end(lifetime_s: float, jitter: float, due_after_s: float) -> None:
    token = TokenTimes(issued_at=NOW, expires_at=NOW + lifetime_s)
    found = due(AUTO, token, jitter=jitter, now=NOW)
    assert found.at == pytest.approx(NOW + due_after_s)
    assert found.reason == policy.BEFORE_EXPIRY


def test_auto_without_an_end_takes_the_session_timeout_in_its_place() -> None:
    found = due(AUTO, TokenTimes(issued_at=NOW), jitter=0, now=NOW)
    assert (found.at, found.reason) == (NOW + 900 - 90, policy.SESSION_TIMEOUT_STANDS_IN)


@pytest.mark.parametrize("session", [AUTO, FIXED])
def test_an_unknown_issue_time_is_due_but_spread(session: SessionPolicy) -> None:
    spread = replace(session, spread_s=600.0)
    found = due(spread, TokenTimes(), jitter=0.25, now=NOW)
    assert (found.at, found.reason) == (NOW + 150, policy.ISSUE_TIME_UNKNOWN)


def test_no_access_token_is_due_but_spread() -> None:
    found = due(SessionPolicy(spread_s=100), TokenTimes(has_access_token=False), jitter=0.5, now=NOW)
    assert (found.at, found.reason) == (NOW + 50, policy.NO_TOKEN_YET)


def test_an_issue_time_in_the_future_counts_as_now() -> None:
    """A clock that was moved back must not put a refresh off."""
    assert due(FIXED, TokenTimes(issued_at=NOW + 5_000), jitter=0, now=NOW).at == NOW + 900


@pytest.mark.parametrize(("wanted_s", "margin"), [(None, 360), (30, 30), (0, 0), (10_000, 1800)])
def test_a_margin_that_was_asked_for_is_taken_up_to_half_the_life(
    wanted_s: float | None, margin: float
) -> None:
    assert margin_s(3600, wanted_s) == margin


@pytest.mark.parametrize("jitter", [0.0, 0.5, 0.999])
def test_in_a_refresh_window_nothing_is_due_before_it_opens(jitter: float) -> None:
    """Exact Online accepts a refresh only in the last 30 seconds of a token."""
    token = TokenTimes(issued_at=NOW, expires_at=NOW + 600)
    found = due(SessionPolicy(refresh_window_s=30), token, jitter=jitter, now=NOW)
    assert found.reason == policy.IN_REFRESH_WINDOW
    assert found.at is not None
    assert NOW + 570 <= found.at < NOW + 590


def test_an_idle_refresh_token_is_kept_alive() -> None:
    session = SessionPolicy(
        session_management=SessionManagement.FIXED, session_timeout_s=1e9, refresh_token_idle_s=86_400
    )
    found = due(session, TokenTimes(issued_at=NOW), jitter=0, now=NOW)
    assert (found.at, found.reason) == (NOW + 0.8 * 86_400, policy.REFRESH_TOKEN_IDLE)


def test_a_refresh_token_s_hard_end_comes_before_a_later_session() -> None:
    session = SessionPolicy(session_management=SessionManagement.FIXED, session_timeout_s=1e9)
    token = TokenTimes(issued_at=NOW, refresh_token_expires_at=NOW + 86_400)
    found = due(session, token, jitter=0, now=NOW)
    assert (found.at, found.reason) == (NOW + 86_400 - 600, policy.REFRESH_TOKEN_ENDS)


def test_a_hard_end_that_the_last_refresh_did_not_move_asks_for_no_other() -> None:
    token = TokenTimes(issued_at=NOW, expires_at=NOW + 5_000, refresh_token_expires_at=NOW + 900)
    assert due(AUTO, token, jitter=0, now=NOW).reason == policy.BEFORE_EXPIRY


@pytest.mark.parametrize(
    ("expires_in_s", "lifetime_s"),
    [
        (3600.0, 3600.0),
        (3599.5, 3599.5),
        (None, None),
        (0.0, None),
        (-5.0, None),
        (math.nan, None),
        (1e12, policy.LIFETIME_MAX_S),
        (math.inf, policy.LIFETIME_MAX_S),
    ],
)
def test_expires_in_is_taken_where_it_says_something(
    expires_in_s: float | None, lifetime_s: float | None
) -> None:
    response = TokenResponse(access_token=Secret("a"), expires_in_s=expires_in_s)
    wanted = None if lifetime_s is None else NOW + lifetime_s
    assert expiry(response, issued_at=NOW) == wanted


@pytest.mark.parametrize(
    ("expires_at", "wanted"), [(NOW + 60, NOW + 60), (NOW, NOW + 30), (NOW - 5, NOW + 30)]
)
def test_a_point_in_time_is_taken_where_it_lies_ahead(expires_at: float, wanted: float) -> None:
    response = TokenResponse(access_token=Secret("a"), expires_at=expires_at)
    assert expiry(response, issued_at=NOW, default_lifetime_s=30) == wanted


@pytest.mark.parametrize(
    ("response", "lifetime_s", "kept", "wanted"),
    [
        ({"refresh_token_expires_in_s": 60.0}, None, NOW + 5, NOW + 60),
        ({"refresh_token_expires_at": NOW + 70}, None, NOW + 5, NOW + 70),
        ({}, 1000.0, NOW + 5, NOW + 5),
        # A rotation does not move an end that counts from the consent.
        ({"refresh_token": Secret("new")}, 1000.0, NOW + 5, NOW + 5),
        ({"refresh_token": Secret("new")}, 1000.0, None, NOW + 1000),
        ({"refresh_token": Secret("new")}, None, None, None),
        ({}, 1000.0, None, None),
    ],
)
def test_the_hard_end_of_a_refresh_token(
    response: dict[str, Any], lifetime_s: float | None, kept: float | None, wanted: float | None
) -> None:
    answered = TokenResponse(access_token=Secret("a"), **response)
    assert refresh_token_expiry(answered, issued_at=NOW, lifetime_s=lifetime_s, kept=kept) == wanted


@given(
    lifetime_s=st.floats(0.001, policy.LIFETIME_MAX_S),
    jitter=st.floats(0, 1, exclude_max=True),
    margin=st.none() | st.floats(0, 1e9),
)
def test_auto_is_never_due_after_the_end_nor_before_a_third_of_the_life(
    lifetime_s: float, jitter: float, margin: float | None
) -> None:
    token = TokenTimes(issued_at=0.0, expires_at=lifetime_s)
    found = due(SessionPolicy(margin_s=margin), token, jitter=jitter, now=0.0)
    assert found.at is not None
    assert lifetime_s / 3 <= found.at <= lifetime_s
