"""When is a token due? Tables of DESIGN section 2."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from models.providers import Provider
from models.tables.account import Account, SessionManagement
from models.token import Secret, TokenResponse
from worker.policy import due as policy
from worker.policy.due import (
    SessionPolicy,
    TokenTimes,
    due,
    expiry,
    margin_s,
    refresh_token_expiry,
    session_policy,
    token_times,
)
from worker.policy.reasons import due as reasons
from worker.policy.reasons import skipped

NOW = 1_000_000.0
AUTO = SessionPolicy()
FIXED = SessionPolicy(session_management=SessionManagement.FIXED, session_timeout_s=900)


@pytest.mark.parametrize(
    ("session", "reason"),
    [
        (SessionPolicy(refresh_enabled=False), skipped.REFRESH_DISABLED),
        (
            SessionPolicy(refresh_enabled=False, session_management=SessionManagement.FIXED),
            skipped.REFRESH_DISABLED,
        ),
        (SessionPolicy(session_management=SessionManagement.NONE), skipped.SESSION_NONE),
    ],
)
def test_disabled_and_none_are_never_due(session: SessionPolicy, reason: str) -> None:
    token = TokenTimes(issued_at=NOW - 10_000, expires_at=NOW - 5_000)
    assert due(session, token, jitter=0.5, now=NOW) == policy.Due(None, reason)


@pytest.mark.parametrize("expires_at", [None, NOW + 10, NOW + 100_000, NOW - 1])
def test_fixed_is_due_at_its_timeout_whatever_the_provider_says(expires_at: float | None) -> None:
    token = TokenTimes(issued_at=NOW - 100, expires_at=expires_at)
    assert due(FIXED, token, jitter=0.9, now=NOW) == policy.Due(NOW + 800, reasons.SESSION_TIMEOUT)


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
    assert found.reason == reasons.BEFORE_EXPIRY


@pytest.mark.parametrize(
    ("issued_at", "expires_at", "due_at"),
    [
        (NOW - 1800, NOW + 1800, NOW + 1440),  # its whole life counts, not what is left of it
        (None, NOW + 1800, NOW + 1620),  # nobody knows more than what is left of it
        (NOW + 1800, NOW + 3600, NOW + 3240),  # a clock was moved back
        (None, NOW - 50, NOW - 50),
        (NOW - 10, NOW - 50, NOW - 50),
    ],
)
def test_auto_counts_the_life_from_the_issue_time(
    issued_at: float | None, expires_at: float, due_at: float
) -> None:
    found = due(AUTO, TokenTimes(issued_at=issued_at, expires_at=expires_at), jitter=0, now=NOW)
    assert found == policy.Due(due_at, reasons.BEFORE_EXPIRY)


def test_auto_without_an_end_takes_the_session_timeout_in_its_place() -> None:
    found = due(AUTO, TokenTimes(issued_at=NOW), jitter=0, now=NOW)
    assert (found.at, found.reason) == (NOW + 900 - 90, reasons.SESSION_TIMEOUT_STANDS_IN)


@pytest.mark.parametrize("session", [AUTO, FIXED])
def test_an_unknown_issue_time_is_due_but_spread(session: SessionPolicy) -> None:
    spread = replace(session, spread_s=600.0)
    found = due(spread, TokenTimes(), jitter=0.25, now=NOW)
    assert (found.at, found.reason) == (NOW + 150, reasons.ISSUE_TIME_UNKNOWN)


def test_no_access_token_is_due_but_spread() -> None:
    found = due(SessionPolicy(spread_s=100), TokenTimes(has_access_token=False), jitter=0.5, now=NOW)
    assert (found.at, found.reason) == (NOW + 50, reasons.NO_TOKEN_YET)


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
    assert found.reason == reasons.IN_REFRESH_WINDOW
    assert found.at is not None
    assert NOW + 570 <= found.at < NOW + 590


def test_a_window_that_is_wider_than_the_life_is_open_from_its_beginning() -> None:
    token = TokenTimes(issued_at=NOW, expires_at=NOW + 600)
    assert due(SessionPolicy(refresh_window_s=3600), token, jitter=0, now=NOW).at == NOW


#: Due so late that anything else comes first.
LATE = SessionPolicy(session_management=SessionManagement.FIXED, session_timeout_s=1e9)


@pytest.mark.parametrize(
    ("issued_at", "wanted"),
    [
        (NOW - 100, policy.Due(NOW - 100 + 0.8 * 86_400, reasons.REFRESH_TOKEN_IDLE)),
        (NOW + 5_000, policy.Due(NOW + 0.8 * 86_400, reasons.REFRESH_TOKEN_IDLE)),
        (None, policy.Due(NOW, reasons.ISSUE_TIME_UNKNOWN)),
    ],
)
def test_an_idle_refresh_token_is_kept_alive(issued_at: float | None, wanted: policy.Due) -> None:
    session = replace(LATE, refresh_token_idle_s=86_400)
    assert due(session, TokenTimes(issued_at=issued_at), jitter=0, now=NOW) == wanted


@pytest.mark.parametrize(
    ("issued_at", "ends_at", "jitter", "margin"),
    [
        (NOW, NOW + 86_400, 0.0, 600),
        (NOW, NOW + 86_400, 1.0, 900),  # earlier by half of the margin, so that not all come at once
        (NOW - 1800, NOW + 1800, 0.0, 360),
        (NOW + 5_000, NOW + 1800, 0.0, 180),  # a clock was moved back
    ],
)
def test_a_refresh_token_s_hard_end_comes_before_a_later_session(
    issued_at: float, ends_at: float, jitter: float, margin: float
) -> None:
    token = TokenTimes(issued_at=issued_at, refresh_token_expires_at=ends_at)
    wanted = policy.Due(ends_at - margin, reasons.REFRESH_TOKEN_ENDS)
    assert due(LATE, token, jitter=jitter, now=NOW) == wanted


def test_of_two_ends_of_a_refresh_token_the_earlier_counts() -> None:
    token = TokenTimes(issued_at=NOW, refresh_token_expires_at=NOW + 86_400)
    for idle_s, reason in ((3600, reasons.REFRESH_TOKEN_IDLE), (1e8, reasons.REFRESH_TOKEN_ENDS)):
        assert due(replace(LATE, refresh_token_idle_s=idle_s), token, jitter=0, now=NOW).reason == reason


@pytest.mark.parametrize("left_s", [2000, 1200])
def test_a_hard_end_is_heeded_where_the_issue_time_is_unknown(left_s: float) -> None:
    """Among accounts that are spread over a day, this one can't wait; nor would another refresh move a near end."""
    token = TokenTimes(refresh_token_expires_at=NOW + left_s)
    found = due(SessionPolicy(spread_s=86_400), token, jitter=0.5, now=NOW)
    wanted = policy.Due(NOW + 2000 - 200 * 1.25, reasons.REFRESH_TOKEN_ENDS)
    assert found == (
        wanted if left_s > policy.HARD_END_MIN_S else policy.Due(NOW + 43_200, reasons.ISSUE_TIME_UNKNOWN)
    )


def test_a_hard_end_that_the_last_refresh_did_not_move_asks_for_no_other() -> None:
    token = TokenTimes(issued_at=NOW, expires_at=NOW + 5_000, refresh_token_expires_at=NOW + 1200)
    assert due(AUTO, token, jitter=0, now=NOW).reason == reasons.BEFORE_EXPIRY


@pytest.mark.parametrize(
    ("expires_in_s", "lifetime_s"),
    [
        (3600.0, 3600.0),
        (3599.5, 3599.5),
        (0.5, 0.5),
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
    both = replace(response, expires_in_s=7.0)
    assert expiry(both, issued_at=NOW, default_lifetime_s=30) == NOW + 7


@pytest.mark.parametrize(
    ("response", "lifetime_s", "kept", "wanted"),
    [
        ({"refresh_token_expires_in_s": 60.0}, None, NOW + 5, NOW + 60),
        ({"refresh_token_expires_at": NOW + 70}, None, NOW + 5, NOW + 70),
        ({"refresh_token_expires_at": NOW + 70, "refresh_token_expires_in_s": 60.0}, None, None, NOW + 60),
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


def test_what_an_account_and_its_provider_say_is_gathered() -> None:
    account = Account(
        id="a",
        provider="p",
        refresh_enabled=False,
        session_management=SessionManagement.FIXED,
        session_timeout_s=1,
        issued_at=2,
        expires_at=3,
        refresh_token_expires_at=4,
    )
    provider = Provider(name="p", margin_s=5, refresh_window_s=6, refresh_token_idle_s=7)
    assert session_policy(account, provider, spread_s=8) == SessionPolicy(
        refresh_enabled=False,
        session_management=SessionManagement.FIXED,
        session_timeout_s=1,
        margin_s=5,
        refresh_window_s=6,
        refresh_token_idle_s=7,
        spread_s=8,
    )
    times = TokenTimes(has_access_token=False, issued_at=2, expires_at=3, refresh_token_expires_at=4)
    assert token_times(account) == times
    account.access_token_sealed = "sealed"
    assert token_times(account) == replace(times, has_access_token=True)
