"""What a former demo left in a Redis that is set, where real accounts may have come in since. Nothing else is touched."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from redis import Redis

from worker.local.demo.accounts import DEMO_ID, KINDS

#: The key that says which demo a Redis belongs to.
_MARK: Final = "demo"
#: Whom a key is about: an account, or a provider.
_ABOUT: Final = re.compile(r"\{(.+?)\}")
_PROVIDERS: Final = frozenset(kind.provider for kind in KINDS)
_BATCH: Final = 500


class PreviousRun:
    """The keys of refreshd in one Redis.

    Args:
        redis: it decodes responses.
        prefix: of refreshd's keys.
        owner: the data folder of the demo.
    """

    def __init__(self, redis: Redis, prefix: str, owner: str) -> None:
        self._redis = redis
        self._prefix = prefix
        self._mark = f"{prefix}{_MARK}"
        self._owner = owner

    def was_here(self) -> bool:
        """Return whether a demo of the same folder had this Redis."""
        return bool(self._redis.get(self._mark) == self._owner)

    def others(self) -> str | None:
        """Return the first account or provider in it that is none of a demo's."""
        return next((about for key in self._keys() if (about := _foreign(key)) is not None), None)

    def clear(self) -> None:
        """Delete what demos left: keys of refreshd's alone. Celery's messages end by themselves."""
        found: list[str] = []
        for key in self._keys():
            found.append(key)
            if len(found) == _BATCH:
                self._redis.delete(*found)
                found = []
        if found:
            self._redis.delete(*found)

    def mark(self) -> None:
        """Return that this Redis is a demo's."""
        self._redis.set(self._mark, self._owner)

    def _keys(self) -> Iterator[str]:
        quoted = re.sub(r"([\\*?\[\]^])", r"\\\1", self._prefix)
        yield from self._redis.scan_iter(match=f"{quoted}*", count=_BATCH)


def _foreign(key: str) -> str | None:
    found = _ABOUT.search(key)
    about = found[1] if found else None
    return None if about is None or DEMO_ID.fullmatch(about) or about in _PROVIDERS else about
