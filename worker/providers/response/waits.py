"""How long a provider asks to be left alone: Retry-After and its relatives, in every form seen."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final

from worker.providers.response.numbers import amount, duration_s, http_date, point_in_time

#: A larger number is a point in time: no provider asks for 30 years.
_EPOCH_S: Final = 1e9
#: Of these statuses a limit's reset is what to wait for (RFC 6585 section 4; GitHub's 403, others' 503).
_THROTTLED: Final = frozenset({403, 429, 503})
_TOO_MANY: Final = 429
#: They ask for a wait wherever they stand.
_ASKING: Final = ("retry-after", "x-retry-after")
_ASKING_MS: Final = ("retry-after-ms", "x-ms-retry-after-ms")
#: They stand on every answer, and mean a wait where the limit is reached (draft-ietf-httpapi-ratelimit-headers).
_RESETS: Final = (
    "ratelimit-reset", "x-ratelimit-reset-after", "x-ratelimit-reset", "x-rate-limit-reset", "x-ratelimit-reset-requests",
)  # fmt: skip
_REMAINING: Final = ("ratelimit-remaining", "x-ratelimit-remaining", "x-rate-limit-remaining")
_STRUCTURED: Final = re.compile(r"(?:^|[,;\s])(?:t|reset)=\s*(\d{1,12})", re.ASCII | re.IGNORECASE)
_STRUCTURED_REMAINING: Final = re.compile(
    r"(?:^|[,;\s])(?:r|remaining)=\s*(\d{1,12})", re.ASCII | re.IGNORECASE
)
#: Where bodies say it (Discord, Notion).
_FIELDS: Final = ("retry_after", "retry_after_seconds", "retryAfter", "retry-after")


def asked_wait_s(
    status: int, headers: Mapping[str, str], fields: Mapping[str, object], *, now: float
) -> float | None:
    """Return how long the provider asks to be left alone, seconds; None where no header or field can be read.

    Args:
        status: of the response.
        headers: names in lower case.
        fields: the body.
        now: epoch seconds, by the server's clock where it sends one.
    """
    for name in _ASKING:
        if (wait_s := wait(headers.get(name), now=now)) is not None:
            return wait_s
    for name in _ASKING_MS:
        if (wait_ms := amount(headers.get(name))) is not None and wait_ms >= 0:
            return wait_ms / 1000
    if status not in _THROTTLED:
        return None
    if status == _TOO_MANY or _is_used_up(headers):
        for name in _RESETS:
            if (wait_s := wait(headers.get(name), now=now)) is not None:
                return wait_s
        if (found := _STRUCTURED.search(headers.get("ratelimit", ""))) is not None:
            return float(found[1])
    return next((wait_s for name in _FIELDS if (wait_s := wait(fields.get(name), now=now)) is not None), None)


def wait(value: object, *, now: float) -> float | None:
    """Read one value: seconds, `120s`, a date, epoch seconds or milliseconds, or several of them (the longest counts).

    Past dates are 0; other words, and numbers below 0, are nothing.
    """
    whole = _one(value, now)
    if whole is not None or not isinstance(value, str) or "," not in value:
        return whole
    parts = [part for text in value.split(",") if (part := _one(text, now)) is not None]
    return max(parts, default=None)


def _one(value: object, now: float) -> float | None:
    number = amount(value)
    if number is not None:
        if number < 0:
            return None
        at = point_in_time(number) if number >= _EPOCH_S else None
        return number if at is None else max(0.0, at - now)
    if not isinstance(value, str):
        return None
    text = value.strip()
    if (length_s := duration_s(text)) is not None:
        return length_s
    at = http_date(text) if "," in text else point_in_time(text)
    return None if at is None else max(0.0, at - now)


def _is_used_up(headers: Mapping[str, str]) -> bool:
    left: Callable[[str], float | None] = lambda name: amount(headers.get(name))  # noqa: E731
    named = next((number for name in _REMAINING if (number := left(name)) is not None), None)
    if named is None and (found := _STRUCTURED_REMAINING.search(headers.get("ratelimit", ""))) is not None:
        named = float(found[1])
    return named is not None and named <= 0
