"""How many calls a provider takes, and how accounts that have to wait are spread. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeVar

from models.providers import Provider
from models.rate_limit import Limits

T = TypeVar("T")

#: A provider without a known rate: accounts of unknown age, and those that a gate held, come as if it took this many
#: a second.
ASSUMED_REQUESTS_PER_S: Final = 50.0

#: A provider whose accounts come due faster than this share of its rate is begun early: some of it is needed
#: for retries and for what is forced or reported.
CROWDED_SHARE: Final = 0.8
#: How far a plan looks ahead, seconds: the longest margin and twice as far.
HORIZONS_S: Final = (30.0, 60.0, 120.0, 300.0, 600.0, 1200.0)


def limits(provider: Provider, *, requests_per_s: float | None, max_in_flight: int) -> Limits:
    """Return a provider's limits: its data's, else the settings'."""
    return Limits(
        provider.requests_per_s if provider.requests_per_s is not None else requests_per_s,
        provider.max_in_flight if provider.max_in_flight is not None else max_in_flight,
        takes_early=provider.refresh_window_s is None,
    )


def slots(count: int, *, start: float, requests_per_s: float | None, jitter: float) -> list[float]:
    """Return times for accounts that had to wait: from `start` on at the provider's rate, epoch seconds.

    Without a known rate they come back as if it took `ASSUMED_REQUESTS_PER_S`, so that no pause ends in a
    stampede.
    """
    gap_s = 1 / (requests_per_s or ASSUMED_REQUESTS_PER_S)
    return [start + (nth + jitter) * gap_s for nth in range(count)]


def within(items: list[T], requests_per_s: float | None, interval_s: float) -> tuple[list[T], list[T]]:
    """Return the items of a provider that it takes until the next plan, and those that have to wait."""
    most = len(items) if requests_per_s is None else max(1, round(requests_per_s * interval_s))
    return items[:most], items[most:]


def early_count(crowd: Mapping[float, int], limits: Limits, *, interval_s: float, taken: int) -> int:
    """Return how many accounts to begin before they are due, because more come due than the provider can take.

    Args:
        crowd: seconds from now -> accounts that come due until then.
        limits: what the provider takes.
        interval_s: seconds until the next plan.
        taken: accounts that this plan takes of it anyway.
    """
    rate = limits.requests_per_s
    if rate is None or not limits.takes_early:
        return 0
    crowded = any(count > rate * within_s * CROWDED_SHARE for within_s, count in crowd.items())
    return max(round(rate * interval_s) - taken, 0) if crowded else 0
