"""Crowds of accounts that come due, noted from plan to plan: counting them reads every account that is due soon."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from models.rate_limit import Limits
from worker.db.claims import Outlook
from worker.db.planning.schedule import Schedule
from worker.policy.rate_limits import HORIZONS_S, early_count

#: How often accounts are counted that come due within so many seconds. What is far away may be seen a minute late, and
#: a minute's calls are few beside the crowd; all of it each second cost a fleet of a million more than its refreshes.
_NEAR_S: Final = 120.0
_NEAR_EVERY_S: Final = 10.0
_ALL_EVERY_S: Final = 60.0

Crowd = Mapping[float, int]


class LoadSmoothing:
    """Counts accounts that come due, by provider, no more often than is worth it.

    Args:
        schedule: the accounts.
        matters: whether a provider's crowd is of interest; others are not remembered.
    """

    def __init__(self, schedule: Schedule, matters: Callable[[str], bool]) -> None:
        self._schedule = schedule
        self._matters = matters
        #: The note for the next plan; None: the note before still holds.
        self.note: str | None = None

    def look(self, outlook: Outlook) -> dict[str, Crowd]:
        """Return provider -> seconds from now -> how many accounts come due until then."""
        known, now = _read(outlook.note), outlook.now
        if not _is_recent(known, "all_at", now, _ALL_EVERY_S):
            horizons: tuple[float, ...] = HORIZONS_S
            known = {"all_at": now, "near_at": now, "crowds": {}}
        elif not _is_recent(known, "near_at", now, _NEAR_EVERY_S):
            horizons = tuple(one for one in HORIZONS_S if one <= _NEAR_S)
            known["near_at"] = now
        else:
            return _smoothing(known)
        counted = self._schedule.due_counts(horizons)
        names = {name for name in counted.keys() | known["crowds"].keys() if self._matters(name)}
        nothing = dict.fromkeys(horizons, 0)
        known["crowds"] = {
            name: known["crowds"].get(name, {}) | {str(s): n for s, n in counted.get(name, nothing).items()}
            for name in sorted(names)
        }
        self.note = json.dumps(known)
        return _smoothing(known)


def works_ahead(note: str | None, limits: Callable[[str], Limits], *, now: float, interval_s: float) -> bool:
    """Return whether a plan begins accounts before they are due, by what the one before noted, or is to count them anew."""
    known = _read(note)
    if not _is_recent(known, "all_at", now, _ALL_EVERY_S) or not _is_recent(
        known, "near_at", now, _NEAR_EVERY_S
    ):
        return True
    return any(
        early_count(crowd, limits(name), interval_s=interval_s, taken=0)
        for name, crowd in _smoothing(known).items()
    )


def _is_recent(known: Mapping[str, Any], name: str, now: float, every_s: float) -> bool:
    """Return whether accounts were counted so short a time ago; a clock that was set back makes it long ago."""
    return bool(0 <= now - known[name] < every_s)


def _read(text: str | None) -> dict[str, Any]:
    """Read a note; one of another release is none."""
    try:
        known = json.loads(text or "")
        return {
            "all_at": float(known["all_at"]),
            "near_at": float(known["near_at"]),
            "crowds": known["crowds"],
        }
    except (ValueError, TypeError, KeyError):
        return {"all_at": -1e18, "near_at": -1e18, "crowds": {}}


def _smoothing(known: Mapping[str, Any]) -> dict[str, Crowd]:
    return {name: {float(s): int(n) for s, n in crowd.items()} for name, crowd in known["crowds"].items()}
