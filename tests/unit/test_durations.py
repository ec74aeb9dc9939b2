"""Durations as people read them."""

from __future__ import annotations

import pytest

from worker.durations import duration


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.4, "0s"),
        (59.4, "59s"),
        (59.6, "1m"),
        (61.0, "1m 1s"),
        (3599.0, "59m 59s"),
        (3600.0, "1h"),
        (5459.0, "1h 30m"),
        (86_399.0, "23h 59m"),
        (86_400.0, "1d"),
        (5400.0, "1h 30m"),
        (86_400.0 * 40 + 7200, "40d 2h"),
        (86_400.0 * 40 + 10_799, "40d 2h"),
    ],
)
def test_a_duration_has_its_two_largest_units(seconds: float, words: str) -> None:
    assert duration(seconds) == words
