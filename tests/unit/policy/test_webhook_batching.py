"""How webhooks are told: folding, trying again, giving up."""

from __future__ import annotations

import pytest

from worker.policy.webhook_batching import (
    FOLD_WINDOW_S,
    GIVE_UP_AFTER_S,
    RETRY_MAX_S,
    SINGLY_MAX,
    Batching,
    gather,
    is_given_up,
    retry_after_s,
)


@pytest.mark.parametrize(
    ("waiting", "lately", "oldest_s", "wanted"),
    [
        (1, 0, 0.0, Batching.SINGLY),
        (SINGLY_MAX, 0, 0.0, Batching.SINGLY),
        (SINGLY_MAX - 3, 3, 0.0, Batching.SINGLY),
        (SINGLY_MAX - 3, 4, 0.0, Batching.TOGETHER),
        (10_000, 0, 0.0, Batching.TOGETHER),  # the beginning of a wave is told at once
        (1, SINGLY_MAX, 0.0, Batching.TOGETHER),
        (1, SINGLY_MAX + 1, FOLD_WINDOW_S - 1, Batching.WAIT),  # and what follows it, a window later
        (1, 10_000, FOLD_WINDOW_S, Batching.TOGETHER),
    ],
)
def test_many_happenings_of_one_topic_are_folded(
    waiting: int, lately: int, oldest_s: float, wanted: Batching
) -> None:
    assert gather(waiting, lately=lately, oldest_s=oldest_s) is wanted


@pytest.mark.parametrize(
    ("attempts", "jitter", "asked_s", "wanted_s"),
    [
        (1, 1.0, None, 5.0),
        (1, 0.0, None, 2.5),
        (2, 1.0, None, 10.0),
        (5, 1.0, None, 80.0),
        (40, 1.0, None, RETRY_MAX_S),
        (100_000, 0.0, None, RETRY_MAX_S / 2),
        (1, 1.0, 60.0, 60.0),
        (5, 1.0, 60.0, 80.0),
        (1, 1.0, 1e9, RETRY_MAX_S),
    ],
)
def test_a_failed_delivery_waits_twice_as_long_each_time(
    attempts: int, jitter: float, asked_s: float | None, wanted_s: float
) -> None:
    assert retry_after_s(attempts, jitter=jitter, asked_s=asked_s) == wanted_s


@pytest.mark.parametrize(
    ("age_s", "http_status", "given_up"),
    [
        (0.0, None, False),
        (GIVE_UP_AFTER_S - 1, 500, False),
        (GIVE_UP_AFTER_S, None, True),
        (0.0, 410, True),
        (0.0, 404, False),
    ],
)
def test_a_message_is_put_aside_after_days_or_where_nobody_wants_it(
    age_s: float, http_status: int | None, given_up: bool
) -> None:
    assert is_given_up(age_s, http_status) is given_up
