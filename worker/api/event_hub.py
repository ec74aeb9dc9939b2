"""The stream of events, read once by the process, and handed to every client that listens.

Batches form a chain. A client holds the one that it has sent last, and goes on to the next as it comes; what every client
has sent, none holds any more.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from msgspec import Struct, field
from redis.asyncio import Redis
from redis.exceptions import RedisError

from models.label import NO_LABELS
from worker.log import log

#: So often a batch without entries keeps proxies and clients from giving a silent connection up.
HEARTBEAT_MS: Final = 15_000
#: Entries that are read at once.
AT_ONCE: Final = 500
#: A client that is so many entries behind the others is sent away, and comes again with its Last-Event-ID: what it has not
#: read is kept in Redis, and not twice.
BEHIND_MAX: Final = 10_000

_NUMBERS: Final = frozenset({"generation", "at", "expires_at"})

Fields = Mapping[str, str]


class Entry(Struct, frozen=True):
    """One event, and how it is sent."""

    id: str
    text: str
    #: Those that the account had which it is about; none: it had none, or it is about a client or a provider.
    labels: Mapping[str, str]


def order_of(entry_id: str) -> tuple[int, int]:
    """Return what an id of a Redis stream is compared by."""
    milliseconds, _, number = entry_id.partition("-")
    return int(milliseconds), int(number)


class Batch(Struct):
    """Entries that were read at once; none: a heartbeat."""

    entries: Sequence[Entry]
    #: The id of the last entry up to here.
    last: str
    #: Entries up to here, since the process began to read.
    count: int = 0
    next: Batch | None = None
    #: Set once there is a next one, or there will be none.
    came: asyncio.Event = field(default_factory=asyncio.Event)


class EventHub:
    """Reads the stream while anybody listens. One per event loop.

    Args:
        redis: where the stream is.
        stream: its key.
    """

    def __init__(self, redis: Redis, stream: str) -> None:
        self._redis = redis
        self._stream = stream
        self._newest: Batch | None = None
        self._reading: asyncio.Task[None] | None = None
        self._opening = asyncio.Lock()

    async def newest(self) -> Batch:
        """Return the latest batch; the stream is read from now on.

        Raises:
            RedisError: Redis is away.
        """
        async with self._opening:
            if self._newest is None:
                found: Any = await self._redis.xrevrange(self._stream, count=1)
                self._newest = Batch((), str(found[0][0]) if found else "0-0")
                self._reading = asyncio.create_task(self._read(self._newest))
            return self._newest

    async def since(self, last: str) -> list[Entry]:
        """Return the entries behind an id, `AT_ONCE` at most, for a client that was away.

        Raises:
            RedisError: Redis is away.
        """
        found: Any = await self._redis.xrange(self._stream, min=f"({last}", count=AT_ONCE)
        return [_entry(one, fields) for one, fields in found]

    def is_left_behind(self, batch: Batch) -> bool:
        """Return whether a client that has sent this batch last reads too slowly."""
        return self._newest is not None and self._newest.count - batch.count > BEHIND_MAX

    async def close(self) -> None:
        """Stop reading."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait([self._reading])

    async def _read(self, batch: Batch) -> None:
        try:
            while True:
                found: Any = await self._redis.xread(
                    {self._stream: batch.last}, count=AT_ONCE, block=HEARTBEAT_MS
                )
                entries = [_entry(one, fields) for one, fields in (found[0][1] if found else ())]
                last = entries[-1].id if entries else batch.last
                following = Batch(entries, last, batch.count + len(entries))
                batch.next = self._newest = following
                batch.came.set()
                batch = following
        except (RedisError, OSError) as error:
            # Clients come again by themselves, and go on behind the last event that they have.
            log.warning("event_stream_ended", error=str(error))
        finally:
            self._newest = None
            batch.came.set()


def _entry(entry_id: str, fields: Fields) -> Entry:
    labels = _labels(fields.get("labels", NO_LABELS))
    return Entry(entry_id, _text(entry_id, fields, labels), labels)


def _labels(text: str) -> Mapping[str, str]:
    """Return the labels of an entry; whoever may write the stream may have written anything."""
    try:
        found = json.loads(text) if text != NO_LABELS else {}
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _text(event_id: str, fields: Fields, labels: Mapping[str, str]) -> str:
    """Return an event as it is sent; a field of a newer refreshd comes along as text."""
    data: dict[str, Any] = {
        name: _number(value) if name in _NUMBERS else value for name, value in fields.items()
    }
    if labels:
        data["labels"] = labels
    return f"id: {event_id}\nevent: {fields.get('type', 'event')}\ndata: {json.dumps(data)}\n\n"


def _number(text: str) -> float | int | str:
    try:
        return int(text) if text.isdigit() else float(text)
    except ValueError:
        return text
