"""How many calls a provider takes, and how those who have to wait are spread."""

from __future__ import annotations

import pytest

from models.providers import Provider
from models.rate_limit import Limits
from worker.policy.rate_limits import early_count, limits, slots, within


@pytest.mark.parametrize(
    ("own", "wanted"),
    [
        ({}, Limits(50, 9)),
        ({"requests_per_s": 3}, Limits(3, 9)),
        ({"max_in_flight": 2}, Limits(50, 2)),
        ({"refresh_window_s": 30}, Limits(50, 9, takes_early=False)),
    ],
)
def test_a_provider_s_own_limits_come_before_the_settings(own: dict[str, float], wanted: Limits) -> None:
    named = Provider.model_validate({"name": "acme", **own})
    assert limits(named, requests_per_s=50, max_in_flight=9) == wanted


def test_who_has_to_wait_comes_back_at_the_providers_rate() -> None:
    assert slots(3, start=100.0, requests_per_s=10, jitter=0.0) == pytest.approx([100.0, 100.1, 100.2])
    assert slots(2, start=100.0, requests_per_s=10, jitter=0.5) == pytest.approx([100.05, 100.15])


def test_without_a_known_rate_nobody_stampedes_either() -> None:
    times = slots(100, start=0.0, requests_per_s=None, jitter=0.5)
    assert times[-1] - times[0] == pytest.approx(99 / 50)


@pytest.mark.parametrize(
    ("rate", "interval_s", "taken"),
    [(None, 1.0, 10), (4.0, 1.0, 4), (0.1, 1.0, 1), (100.0, 1.0, 10), (4.0, 2.0, 8)],
)
def test_one_plan_takes_what_the_provider_takes_until_the_next(
    rate: float | None, interval_s: float, taken: int
) -> None:
    now, later = within(list(range(10)), rate, interval_s)
    assert (now, later) == (list(range(taken)), list(range(taken, 10)))


@pytest.mark.parametrize(
    ("crowd", "limits", "taken", "wanted"),
    [  # of a plan each two seconds
        ({60.0: 10_000}, Limits(50.0, 10), 0, 100),  # a cliff
        ({60.0: 10_000}, Limits(0.7, 10), 0, 1),
        ({60.0: 10_000}, Limits(50.0, 10), 70, 30),  # what is due anyway comes first
        ({60.0: 10_000}, Limits(50.0, 10), 180, 0),
        ({60.0: 100, 600.0: 1_000}, Limits(50.0, 10), 0, 0),  # it can take them as they come
        ({60.0: 100, 600.0: 29_000}, Limits(50.0, 10), 0, 100),  # far away, but too many
        ({60.0: 10_000}, Limits(None, 10), 0, 0),
        ({60.0: 10_000}, Limits(50.0, 10, takes_early=False), 0, 0),
    ],
)
def test_a_crowd_is_begun_early(crowd: dict[float, int], limits: Limits, taken: int, wanted: int) -> None:
    assert early_count(crowd, limits, interval_s=2.0, taken=taken) == wanted
