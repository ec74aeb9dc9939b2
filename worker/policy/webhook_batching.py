"""Rules of webhooks: which events share a message, when a delivery is retried, when it is dead-lettered. Pure."""

from __future__ import annotations

from enum import Enum
from typing import Final

#: So many events of one type about one provider (or client) are sent one by one; more share messages.
SINGLY_MAX: Final = 10
#: The window for that. If 10,000 grants end at once, a hundred messages name them, and further ones wait for five minutes.
FOLD_WINDOW_S: Final = 300.0

#: The pause after a first failure; each further one is twice as long, half of it by chance.
RETRY_BASE_S: Final = 5.0
RETRY_MAX_S: Final = 6 * 3600.0
#: Standard Webhooks: "multiple attempts over multiple days". Long enough for a weekend.
GIVE_UP_AFTER_S: Final = 3 * 86400.0
#: 2 ** this is beyond the longest pause.
_EXPONENT_MAX: Final = 16
#: "The endpoint is no longer accepting messages" (Standard Webhooks, of 410 Gone).
_GONE: Final = 410


class Batching(Enum):
    """How the waiting events of one topic are sent."""

    #: One message each.
    SINGLY = "singly"
    #: All of them together, in as few messages as name each account.
    TOGETHER = "together"
    #: They wait until the window is over.
    WAIT = "wait"


def gather(waiting: int, *, lately: int, oldest_s: float) -> Batching:
    """Return how the waiting events of one topic are sent.

    Args:
        waiting: events that wait.
        lately: events of the topic that were sent within the last `FOLD_WINDOW_S`.
        oldest_s: how long the oldest of them has waited, seconds.
    """
    if waiting + lately <= SINGLY_MAX:
        return Batching.SINGLY
    if lately <= SINGLY_MAX or oldest_s >= FOLD_WINDOW_S:
        return Batching.TOGETHER
    return Batching.WAIT


def retry_after_s(attempts: int, *, jitter: float, asked_s: float | None = None) -> float:
    """Return how long to wait after a failed delivery.

    Args:
        attempts: deliveries that failed so far, this one included.
        jitter: a fraction in [0, 1).
        asked_s: `Retry-After`, seconds, where the endpoint sent it.
    """
    pause_s = min(RETRY_BASE_S * 2.0 ** min(attempts - 1, _EXPONENT_MAX), RETRY_MAX_S)
    return max(pause_s * (0.5 + jitter / 2), min(asked_s or 0.0, RETRY_MAX_S))


def is_given_up(age_s: float, http_status: int | None) -> bool:
    """Return whether a message that was not taken is dead-lettered: after days, or because the endpoint is gone (410)."""
    return age_s >= GIVE_UP_AFTER_S or http_status == _GONE
