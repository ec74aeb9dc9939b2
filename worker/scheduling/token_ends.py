"""Degraded from the second on in which a token ends: in SQL, in Redis, as an event, whatever the account waits for."""

from __future__ import annotations

from typing import Final

from models.publication import publication
from worker.clock import Clock
from worker.db.planning.ended_tokens import ALL_S, RECENT_S, Marked
from worker.db.refresh.async_stores import AsyncPublicationStore
from worker.redis.publisher import TokenPublisher

#: One plan writes so many: it stays short, and the next one is a second away.
A_PLAN: Final = 1_000


class TokenEnds:
    """Publishes the state of accounts whose token has ended, and notes in SQL that Redis has it."""

    def __init__(self, *, store: AsyncPublicationStore, publisher: TokenPublisher, clock: Clock) -> None:
        self._store = store
        self._publisher = publisher
        self._clock = clock

    async def sweep(self) -> int:
        """Mark accounts whose token ended lately, at most `A_PLAN` of them; return their number.

        Raises:
            DatabaseUnreachable: nothing was marked.
            RedisError: they are marked in SQL; the next reconcile writes their state to Redis.
        """
        return len((await self._mark(A_PLAN, RECENT_S, 0.0)).accounts)

    async def batch(self, limit: int, from_end: float) -> Marked:
        """Mark accounts whose token has ended, however long ago, from one end on; raises as `sweep` does."""
        return await self._mark(limit, ALL_S, from_end)

    async def _mark(self, limit: int, within_s: float, from_end: float) -> Marked:
        marked = await self._store.mark_ended(limit, within_s=within_s, from_end=from_end)
        if marked.accounts:
            now = self._clock.now()
            await self._publisher.put(
                [publication(one, None, now=now) for one in marked.accounts], marked.events
            )
            await self._store.mark_published([(one.id, one.generation) for one in marked.accounts])
        return marked
