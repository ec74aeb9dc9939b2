"""What follows from a verdict: DESIGN section 3's table."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.answer import Judgement, Verdict
from models.tables.account import Status
from worker.policy import backoff
from worker.policy.backoff import Consequence, consequence

NOW = 1_000.0
MAX_S = 3600.0


def after(
    verdict: Verdict,
    *,
    failures: int = 0,
    has_token: bool = True,
    expires_at: float | None = None,
    jitter: float = 1.0,
    retry_after_s: float | None = None,
    max_s: float = MAX_S,
) -> Consequence:
    judgement = Judgement(verdict=verdict, reason="r", retry_after_s=retry_after_s)
    return consequence(
        judgement,
        failures=failures,
        has_token=has_token,
        expires_at=expires_at,
        jitter=jitter,
        now=NOW,
        max_s=max_s,
    )


@pytest.mark.parametrize(
    ("verdict", "expires_at", "status"),
    [
        (Verdict.RETRY, NOW + 60, Status.ACTIVE),
        (Verdict.RETRY, None, Status.ACTIVE),
        (Verdict.RETRY, NOW + 0.5, Status.ACTIVE),
        (Verdict.RETRY, NOW, Status.DEGRADED),
        (Verdict.RATE_LIMITED, NOW + 60, Status.ACTIVE),
        (Verdict.RATE_LIMITED, NOW - 1, Status.DEGRADED),
        (Verdict.REAUTHORIZE, NOW + 60, Status.REAUTHORIZE),
        (Verdict.MISCONFIGURED, NOW + 60, Status.MISCONFIGURED),
    ],
)
def test_status(verdict: Verdict, expires_at: float | None, status: Status) -> None:
    assert after(verdict, expires_at=expires_at).status is status


@pytest.mark.parametrize("verdict", [Verdict.RETRY, Verdict.RATE_LIMITED])
def test_an_account_that_never_had_a_token_is_degraded_by_its_first_failure(verdict: Verdict) -> None:
    assert after(verdict, has_token=False).status is Status.DEGRADED


@pytest.mark.parametrize(
    ("failures", "pause_s"), [(0, 1), (1, 2), (5, 32), (11, 2048), (12, MAX_S), (10_000, MAX_S)]
)
def test_a_retry_waits_twice_as_long_each_time_up_to_the_cap(failures: int, pause_s: float) -> None:
    assert after(Verdict.RETRY, failures=failures).retry_at == NOW + pause_s


@pytest.mark.parametrize(
    ("failures", "left_s", "pause_s"),
    [
        (9, 40.0, 20),
        (9, 2000.0, 512),
        (9, 0.5, 1),  # not more often than once a second, however near its end is
        (9, 0.0, 512),  # a token that has ended hastens nothing
        (9, -40.0, 512),
        (0, 40.0, 1),
    ],
)
def test_a_living_token_is_tried_once_more_before_it_ends(
    failures: int, left_s: float, pause_s: float
) -> None:
    assert after(Verdict.RETRY, failures=failures, expires_at=NOW + left_s).retry_at == NOW + pause_s


@pytest.mark.parametrize(("asked_s", "pause_s"), [(120.0, 120.0), (1e9, backoff.RETRY_AFTER_MAX_S)])
def test_retry_after_is_heeded_by_a_retry(asked_s: float, pause_s: float) -> None:
    assert after(Verdict.RETRY, retry_after_s=asked_s).retry_at == NOW + pause_s


@pytest.mark.parametrize(
    ("asked_s", "pause_s"), [(60.0, 60.0), (None, 30.0), (0.0, 1.0), (1e9, backoff.RETRY_AFTER_MAX_S)]
)
def test_a_rate_limit_waits_as_long_as_it_was_asked_to(asked_s: float | None, pause_s: float) -> None:
    found = after(Verdict.RATE_LIMITED, retry_after_s=asked_s, jitter=0.0)
    assert found.retry_at == NOW + pause_s
    latest = after(Verdict.RATE_LIMITED, retry_after_s=asked_s, jitter=1.0)
    assert latest.retry_at == pytest.approx(NOW + pause_s * 1.1), "not all of them at the same moment"


@pytest.mark.parametrize(
    ("verdict", "counts"),
    [
        (Verdict.RETRY, True),
        (Verdict.RATE_LIMITED, False),
        (Verdict.REAUTHORIZE, False),
        (Verdict.MISCONFIGURED, True),
    ],
)
def test_whose_failure_it_is(verdict: Verdict, counts: bool) -> None:
    assert after(verdict).counts is counts


def test_a_revoked_grant_is_not_tried_again() -> None:
    assert after(Verdict.REAUTHORIZE).retry_at is None


def test_a_wrong_configuration_is_retried_slowly() -> None:
    for longest_s in (MAX_S, 60.0):
        found = after(Verdict.MISCONFIGURED, max_s=longest_s)
        assert found.retry_at == NOW + backoff.MISCONFIGURED_BASE_S, "also where other pauses are short"


@given(failures=st.integers(0, 10**9), jitter=st.floats(0, 1, exclude_max=True))
def test_half_of_every_pause_is_certain(failures: int, jitter: float) -> None:
    least, found, most = (
        after(Verdict.RETRY, failures=failures, jitter=j).retry_at for j in (0.0, jitter, 1.0)
    )
    assert least is not None
    assert found is not None
    assert most is not None
    assert NOW + (most - NOW) / 2 == pytest.approx(least)
    assert least <= found <= most <= NOW + MAX_S
