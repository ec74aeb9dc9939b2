"""Lifetimes and points in time, in every shape that providers write them."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

from msgspec import Struct

_NUMBER: Final = re.compile(r"[+-]?\d{1,30}(?:\.\d{0,30})?(?:[eE][+-]?\d{1,3})?", re.ASCII)
#: Digits in groups of three, as a program writes them that formats numbers for people.
_GROUPED: Final = re.compile(r"\d{1,3}(?:[,\u00a0 ']\d{3}){1,4}", re.ASCII)
_WITH_UNIT: Final = re.compile(r"(\d{1,15}(?:\.\d{1,9})?)\s*([a-z]{1,12})\.?", re.ASCII)
#: Several of them: Go's `1h0m0s`, "1 hour 30 minutes", "1 day, 2 hours and 5 minutes".
_WITH_UNITS: Final = re.compile(
    rf"{_WITH_UNIT.pattern}(?:(?:,|\s|and)*{_WITH_UNIT.pattern}){{0,5}}", re.ASCII
)
_UNITS_S: Final = {
    **dict.fromkeys(("ms", "msec", "msecs", "millis", "millisecond", "milliseconds"), 0.001),
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1.0),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), 60.0),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), 3600.0),
    **dict.fromkeys(("d", "day", "days"), 86400.0),
}
#: ISO 8601's duration, without years and months: their length varies.
_ISO_DURATION: Final = re.compile(
    r"P(?:(\d{1,6})W)?(?:(\d{1,6})D)?(?:T(?:(\d{1,8})H)?(?:(\d{1,8})M)?(?:(\d{1,10}(?:\.\d{1,9})?)S)?)?",
    re.ASCII,
)
_ISO_UNITS_S: Final = (604800.0, 86400.0, 3600.0, 60.0, 1.0)
#: .NET's TimeSpan: days, hours, minutes, seconds.
_TIME_SPAN: Final = re.compile(r"(?:(\d{1,6})\.)?(\d{1,2}):(\d{2}):(\d{2})(?:\.\d{1,9})?", re.ASCII)
_SPAN_UNITS_S: Final = (86400.0, 3600.0, 60.0, 1.0)
#: A lifetime that is a point in time lies between now and this long ahead: 1576800000 is a life of 50 years.
_AHEAD_S: Final = 10 * 365.25 * 86400
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


class End(Struct, frozen=True):
    """When something ends: in so many seconds, or at a point in time (epoch seconds). One of both."""

    in_s: float | None = None
    at: float | None = None


def read_end(value: object, *, now: float, unit_s: float = 1.0) -> End | None:
    """Read a lifetime, or the point in time that stands in its place; None for what is neither.

    Args:
        value: a number, or text: `3600`, `"3,600"`, `"3600s"`, `"PT1H"`, `"01:00:00"`, epoch seconds or milliseconds,
            ISO 8601, an HTTP date.
        now: epoch seconds.
        unit_s: what a bare number counts, seconds.
    """
    number = amount(value)
    if number is None and isinstance(value, str):
        text = value.strip()
        if (length_s := duration_s(text)) is not None:
            return End(in_s=length_s)
        if not _GROUPED.fullmatch(text):
            at = _written_date(text) if text else None
            return None if at is None or not _EARLIEST_S <= at < _LATEST_S else End(at=at)
        number = float(re.sub(r"\D", "", text))
    if number is None:
        return None
    for epoch_s in (number, number / 1000):
        if now < epoch_s <= now + _AHEAD_S:
            return End(at=epoch_s)
    return End(in_s=number * unit_s)


def duration_s(text: str) -> float | None:
    """Read a length of time with its unit: `3600s`, `1h30m`, `60 min`, `PT1H`, `01:00:00`; None for other text."""
    if _WITH_UNITS.fullmatch(lower := text.lower()) is not None:
        parts = _WITH_UNIT.findall(lower)
        if all(unit in _UNITS_S for _, unit in parts):
            return sum(float(number) * _UNITS_S[unit] for number, unit in parts)
    for form, units_s in ((_ISO_DURATION, _ISO_UNITS_S), (_TIME_SPAN, _SPAN_UNITS_S)):
        found = form.fullmatch(text)
        if found is not None and any(found.groups()):
            return sum(
                float(part or 0) * unit_s for part, unit_s in zip(found.groups(), units_s, strict=True)
            )
    return None


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
    """Return epoch seconds; a time without a zone is meant as UTC."""
    try:
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (OverflowError, ValueError):
        return None
