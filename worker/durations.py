"""Durations as people read them. Pure."""

from __future__ import annotations

import re
from typing import Final

from worker.clock import wall_clock
from worker.errors import UsageError


def duration(seconds: float) -> str:
    """Say a duration in its two largest units."""
    whole = round(seconds)
    for size, unit, next_size, next_unit in (
        (86400, "d", 3600, "h"),
        (3600, "h", 60, "m"),
        (60, "m", 1, "s"),
    ):
        if whole >= size:
            rest = whole % size // next_size
            return f"{whole // size}{unit} {rest}{next_unit}" if rest else f"{whole // size}{unit}"
    return f"{whole}s"


def ago_or_in(at: float | None, *, now: float | None = None) -> str:
    """Say a point in time as people do: `in 4m 10s`, `12s ago`, `-` for none."""
    if at is None:
        return "-"
    distance_s = at - (wall_clock() if now is None else now)
    words = duration(abs(distance_s))
    return f"in {words}" if distance_s >= 0 else f"{words} ago"


_UNIT_S: Final = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_PART: Final = re.compile(r"(\d+(?:\.\d+)?)([smhdw])")


def seconds_of(words: str, *, option: str) -> float:
    """Return the seconds of `2h`, `1d12h` and the like.

    Raises:
        UsageError: it is no duration, or none that is longer than nothing.
    """
    text = words.strip().lower().replace(" ", "")
    parts = _PART.findall(text)
    seconds = sum(float(number) * _UNIT_S[unit] for number, unit in parts)
    if "".join(number + unit for number, unit in parts) != text or seconds <= 0:
        raise UsageError(f"{option}: {words!r}: not a duration; expected 90s, 30m, 2h, 1d or 1d12h")
    return seconds
