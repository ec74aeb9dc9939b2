"""Finished attempts on their way to the database and to Redis."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Final

from msgspec import Struct, field
from msgspec.structs import replace

from models.event import Event
from models.publication import Publication
from worker.db.refresh.completions import Completion, Stored
from worker.monitoring.traces import StoreTimes, store_times

#: So many tasks are named in a line about the answers of many.
TASKS_NAMED_MAX: Final = 20


class Completed(Struct, frozen=True):
    """One finished attempt on its way to the database and to Redis."""

    completion: Completion
    #: What to publish once it is stored.
    publication: Publication
    events: tuple[Event, ...] = ()
    #: The answer as it is parked, sealed: it is deleted there once it is stored.
    stashed: str | None = None


class Waiting(Struct):
    """One of them that waits for its commit."""

    completed: Completed
    done: asyncio.Future[Stored | None]
    stashed: str | None = field(default=None)
    times: StoreTimes | None = field(default_factory=store_times)

    def events(self) -> Iterable[Event]:
        """Return its entries for the event stream."""
        events = self.completed.events
        header = None if self.times is None else self.times.header()
        return events if header is None else [replace(event, traceparent=header) for event in events]


def to_keep(stored: Sequence[Waiting]) -> dict[str, str]:
    """Return the answers, sealed, that a database which loses their commit can't do without: they rotated."""
    ended = [waiting.completed.completion for waiting in stored]
    return {
        one.account.id: one.sealed_answer
        for one in ended
        if one.attempt.received_fp != one.attempt.refresh_fp and one.sealed_answer is not None
    }


def task_ids_of(waiting: Sequence[Waiting]) -> list[str]:
    """Return the ids of the tasks of these answers, at most as many as a log line can hold."""
    found = dict.fromkeys(one.completed.completion.attempt.task_id or "" for one in waiting)
    return [task_id for task_id in found if task_id][:TASKS_NAMED_MAX]
