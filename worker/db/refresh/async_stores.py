"""Stores for the event loop: each function of a store runs in a thread of the executor, and is awaited."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet

from sqlalchemy import Engine

from worker.clock import Clock
from worker.db.accounts.clients import Clients
from worker.db.executor import DatabaseExecutor
from worker.db.fleet.outages import Outages
from worker.db.planning.ended_tokens import EndedTokens
from worker.db.planning.schedule import Schedule
from worker.db.publication.comparison import ComparisonStore
from worker.db.publication.store import PublicationStore
from worker.db.records.history import History
from worker.db.refresh.late_answers import LateAnswers
from worker.db.refresh.store import RefreshStore
from worker.db.repair.restore import raise_above


class AsyncRefreshStore:
    """Everything that a refresh asks the database; the stores describe each function.

    Args:
        engine: the database.
        executor: runs the SQL.
        clock: is set by the database's whenever accounts are loaded.
        event_types: types of events that go to the outbox, in the commit that they tell of.
    """

    def __init__(
        self, engine: Engine, executor: DatabaseExecutor, clock: Clock, event_types: AbstractSet[str]
    ) -> None:
        store, history, late = RefreshStore(engine, clock, event_types), History(engine), LateAnswers(engine)
        self._engine = engine
        self._executor = executor
        self.load = executor.awaitable(store.load)
        self.load_for_refresh = executor.awaitable(store.load_for_refresh)
        self.clients = executor.awaitable(Clients(engine).find)
        self.open = executor.awaitable(store.open)
        self.close = executor.awaitable(store.close)
        self.postpone = executor.awaitable(store.postpone)
        self.keep = executor.awaitable(store.keep)
        self.granted_above = executor.awaitable(late.granted_above)
        self.granted_since = executor.awaitable(late.granted_since)
        self.forget_kept = executor.awaitable(late.forget)
        self.reschedule = executor.awaitable(store.reschedule)
        self.latest_attempts = executor.awaitable(history.of)
        self.note_attempts = executor.awaitable(history.note)
        self.outage_began = executor.awaitable(Outages(engine, event_types).began)

    async def raise_above(self, refused: Sequence[tuple[str, int, int]]) -> dict[str, int]:
        """Raise rows above the generations that Redis has seen, as `worker.db.repair.restore.raise_above` does."""
        return await self._executor(raise_above, self._engine, refused)


class AsyncPublicationStore:
    """Everything that is asked of the database to fill Redis; the stores describe each function.

    Args:
        engine: the database.
        executor: runs the SQL.
        event_types: types of events that go to the outbox.
    """

    def __init__(self, engine: Engine, executor: DatabaseExecutor, event_types: AbstractSet[str]) -> None:
        store, schedule = PublicationStore(engine), Schedule(engine)
        self.lacks = executor.awaitable(store.lacks)
        self.live_accounts = executor.awaitable(store.live_accounts)
        self.unpublished = executor.awaitable(store.unpublished)
        self.mark_published = executor.awaitable(store.mark_published)
        self.give_back_all = executor.awaitable(schedule.give_back_all)
        self.close_abandoned = executor.awaitable(schedule.close_abandoned)
        self.mark_ended = executor.awaitable(EndedTokens(engine, event_types=event_types).mark)


class AsyncComparisonStore:
    """What the comparison asks of the database; `ComparisonStore` describes each function."""

    def __init__(self, engine: Engine, executor: DatabaseExecutor) -> None:
        store = ComparisonStore(engine)
        self.state = executor.awaitable(store.state)
        self.published_after = executor.awaitable(store.published_after)
        self.mark_lost = executor.awaitable(store.mark_lost)
