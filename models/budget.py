"""What a provider takes, and why it takes no more now."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class Limits:
    """What one provider takes. None: as much as there is."""

    requests_per_s: float | None
    max_in_flight: int
    #: False: a refresh before its time is refused (Exact Online), so none is begun ahead of a crowd.
    takes_early: bool = True


@dataclass(frozen=True, slots=True)
class Breaker:
    """When a provider counts as down, and how long it is left alone then. Pauses in seconds."""

    #: So many calls in a row that found the provider down.
    threshold: int = 10
    #: The first pause; it doubles with each probe that fails.
    pause_s: float = 5.0
    pause_max_s: float = 60.0


class Shortage(StrEnum):
    """Why a call has to wait: the reason in the result, the history and the log."""

    SPENT = "provider_budget_spent"
    PAUSED = "provider_paused"
    BREAKER_OPEN = "provider_breaker_open"
    CLIENT_REFUSED = "client_refused_lately"


@dataclass(frozen=True, slots=True)
class Grant:
    """How many calls a provider takes now; for the rest: why not, and how long to wait, seconds."""

    granted: int
    wait_s: float
    shortage: Shortage


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    """What one more failed call made of a breaker."""

    is_open: bool
    #: How often in a row it has been opened, where this call opened it; else 0.
    opened: int


def provider_of(budget: str) -> str:
    """Give the provider of a budget: `PROVIDER`, or `PROVIDER@HOST` where each host has a budget of its own."""
    return budget.rpartition("@")[0] if is_of_host(budget) else budget


def is_of_host(budget: str) -> bool:
    """Tell whether a budget is one host's of a provider that has many."""
    return "@" in budget and not budget.startswith("callback:")
