"""Rate limits of a provider, and why a call has to wait."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from msgspec import Struct


class Limits(Struct, frozen=True):
    """Rate limits of one provider at one origin. None: no known rate."""

    requests_per_s: float | None
    max_in_flight: int
    #: False: a refresh before its time is refused (Exact Online), so none is begun early.
    takes_early: bool = True


class WaitReason(StrEnum):
    """Why a call has to wait: the reason in the result, the history and the log."""

    #: The provider's rate or its calls in flight are used up.
    SPENT = "provider_budget_spent"
    #: The provider answered 429, or asked with Retry-After to be left alone.
    THROTTLED = "provider_paused"
    #: Several accounts found the origin down.
    DOWN = "provider_breaker_open"
    #: The provider refused the client of several accounts.
    REFUSED = "client_refused_lately"


#: Reasons of a closed gate: the account is held, and comes back when the gate opens.
HELD: Final = frozenset({WaitReason.THROTTLED, WaitReason.DOWN, WaitReason.REFUSED})
