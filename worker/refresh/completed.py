"""Finished attempts on their way to the database and to Redis."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from models.event import Event
from models.publication import Publication
from worker.db.refresh.completions import Completion, Stored
from worker.monitoring.traces import StoreTimes, store_times


@dataclass(frozen=True, slots=True)
class Completed:
    """One finished attempt on its way to the database and to Redis."""

    completion: Completion
    #: What to publish once it is stored.
    publication: Publication
    events: tuple[Event, ...] = ()
    #: The answer is parked in Redis, and is deleted there once it is stored.
    stashed: bool = False


@dataclass(slots=True)
class Waiting:
    """One of them that waits for its commit."""

    completed: Completed
    done: asyncio.Future[Stored | None]
    stashed: bool = field(default=False)
    times: StoreTimes | None = field(default_factory=store_times)

    def events(self) -> Iterable[Event]:
        """Return its entries for the event stream."""
        events = self.completed.events
        header = None if self.times is None else self.times.header()
        return events if header is None else [replace(event, traceparent=header) for event in events]
