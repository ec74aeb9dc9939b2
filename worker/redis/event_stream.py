"""`refreshd:events`, read from where one was."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from msgspec import Struct
from redis import Redis

from refreshd_reader.contract import Keys

#: More than happens between two looks; the rest comes with the next one.
_AT_ONCE: Final = 1_000


class SeenEvent(Struct, frozen=True):
    """One entry of the stream: `about` is an account, or the provider or client that it concerns."""

    kind: str
    about: str
    reason: str
    generation: int | None
    at: float

    @classmethod
    def from_entry(cls, fields: Mapping[str, str]) -> SeenEvent:
        """Read an entry; what is missing is empty, as an older or newer refreshd may write it."""
        generation = fields.get("generation", "")
        return cls(
            kind=fields.get("type", ""),
            about=fields.get("account") or fields.get("client") or fields.get("provider") or "",
            reason=fields.get("reason", ""),
            generation=int(generation) if generation.isdigit() else None,
            at=float(fields.get("at") or 0),
        )


class EventFeed:
    """Gives each event once, from the first one that is kept on."""

    def __init__(self, redis: Redis, keys: Keys) -> None:
        self._redis = redis
        self._stream = keys.events
        self._last = "0"

    def skip_old(self) -> None:
        """Leave out what happened until now.

        Raises:
            redis.RedisError: Redis is away.
        """
        newest: Any = self._redis.xrevrange(self._stream, count=1)
        self._last = newest[0][0] if newest else "0"

    def new(self) -> list[SeenEvent]:
        """Return what happened since the last call; it does not wait.

        Raises:
            redis.RedisError: Redis is away. Nothing is missed: the next call goes on from here.
        """
        streams: Any = self._redis.xread({self._stream: self._last}, count=_AT_ONCE)
        seen: list[SeenEvent] = []
        for _, entries in streams or ():
            for entry_id, fields in entries:
                self._last = entry_id
                seen.append(SeenEvent.from_entry(fields))
        return seen
