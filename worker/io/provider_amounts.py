"""Lifetimes and points in time, in every shape that providers write them."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

_NUMBER: Final = re.compile(r"[+-]?\d{1,30}(?:\.\d{0,30})?(?:[eE][+-]?\d{1,3})?")
#: 2001-09-09 in seconds: a smaller "point in time" is none.
_EARLIEST_S: Final = 1e9
#: Year 5138 in seconds, 1973 in milliseconds: what is larger is milliseconds.
_LATEST_S: Final = 1e11
_LATEST_MS: Final = 1e14


def amount(value: object) -> float | None:
    """Read a number that came as number or text; None for what is none (NaN, infinity, true, "soon")."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if isinstance(value, str):
        value = value.strip()
        if not _NUMBER.fullmatch(value):
            return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def point_in_time(value: object) -> float | None:
    """Read a point in time, epoch seconds: from epoch seconds or milliseconds, ISO 8601, or an HTTP date."""
    number = amount(value)
    if number is None:
        return _written_date(value) if isinstance(value, str) else None
    if number >= _LATEST_S:
        number /= 1000
    return number if _EARLIEST_S <= number <= _LATEST_MS / 1000 else None


def _written_date(text: str) -> float | None:
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        return http_date(text)
    return _epoch(moment)


def http_date(text: str) -> float | None:
    """Read RFC 9110's date, epoch seconds; None where the text is none."""
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return _epoch(moment)


def _epoch(moment: datetime) -> float | None:
    """Give epoch seconds; a time without a zone is meant as UTC."""
    try:
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (OverflowError, ValueError):
        return None


def retry_after_s(header: str | None, *, now: float) -> float | None:
    """Read Retry-After (RFC 9110 section 10.2.3): seconds, or a date; past dates are 0, other words None."""
    if header is None:
        return None
    number = amount(header)
    if number is not None:
        return number if number >= 0 else None
    at = http_date(header)
    return None if at is None else max(0.0, at - now)
