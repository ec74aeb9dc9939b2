"""Durations as people read them. Pure."""

from __future__ import annotations


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
