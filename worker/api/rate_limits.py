"""How many requests one key may make: a bucket for each, in this process, and what its headers say.

Headers are those of draft-ietf-httpapi-ratelimit-headers: `RateLimit-Policy: "key";q=QUOTA;w=WINDOW_S` and
`RateLimit: "key";r=REMAINING;t=SECONDS`.
"""

from __future__ import annotations

import math
from typing import Final

from msgspec import Struct

#: A key may use ten seconds' worth at once.
WINDOW_S: Final = 10
#: Keys that are remembered at a time; one that rested this long has its whole quota anyway.
KEYS_MAX: Final = 10_000


class _Bucket(Struct):
    left: float
    at: float


class Allowance(Struct, frozen=True):
    """What a key has left after a request, and whether that request is within it."""

    allowed: bool
    headers: dict[str, str]


class RateLimits:
    """Counts the requests of keys.

    Args:
        requests_per_s: what a key may use on average.
    """

    def __init__(self, requests_per_s: float) -> None:
        self._rate = requests_per_s
        self._quota = max(1.0, requests_per_s * WINDOW_S)
        self._policy = f'"key";q={math.floor(self._quota)};w={WINDOW_S}'
        self._buckets: dict[str, _Bucket] = {}

    def take(self, key_id: str, now: float) -> Allowance:
        """Count a request of a key at `now`, seconds of a clock that only goes on."""
        bucket = self._buckets.get(key_id)
        if bucket is None:
            if len(self._buckets) >= KEYS_MAX:
                self._buckets.clear()
            bucket = self._buckets[key_id] = _Bucket(self._quota, now)
        bucket.left = min(self._quota, bucket.left + (now - bucket.at) * self._rate)
        bucket.at = now
        allowed = bucket.left >= 1
        if allowed:
            bucket.left -= 1
        full_in_s = math.ceil((self._quota - bucket.left) / self._rate)
        headers = {
            "RateLimit-Policy": self._policy,
            "RateLimit": f'"key";r={math.floor(bucket.left)};t={full_in_s}',
        }
        if not allowed:
            headers["Retry-After"] = str(max(1, math.ceil((1 - bucket.left) / self._rate)))
        return Allowance(allowed, headers)
