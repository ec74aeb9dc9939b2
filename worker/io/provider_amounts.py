"""Lifetimes and points in time, in every shape that providers write them."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

_NUMBER: Final = re.compile(r"[+-]?\d{1,30}(?:\.\d{0,30})?(?:[eE][+-]?\d{1,3})?", re.ASCII)
#: September 2001: an earlier "point in time" is a lifetime, or a zero date such as .NET's year 1.
_EARLIEST_S: Final = 1e9
#: The year 5138 in seconds, and 1973 in milliseconds: what is larger is milliseconds.
_LATEST_S: Final = 1e11


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
    at = amount(value)
    if at is None:
        at = _written_date(value) if isinstance(value, str) else None
    elif at >= _LATEST_S:
        at /= 1000
    return at if at is not None and _EARLIEST_S <= at < _LATEST_S else None


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
