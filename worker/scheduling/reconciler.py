"""Reconcile: fill Redis again from SQL, soonest needed first, and close attempts that were abandoned."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from typing import Final

from msgspec import Struct
from redis.asyncio import Redis
from redis.exceptions import RedisError

from models.publication import Publication, publication
from models.tables.account import Account
from refreshd_reader.contract import Keys
from worker.clock import Clock
from worker.crypto.sealer import ACCESS_TOKEN, AccountSealer
from worker.db.claims import NO_END
from worker.db.fleet_locks import AsyncFleetLock, Held
from worker.db.publication.store import STATE_UNPUBLISHED
from worker.db.refresh.async_stores import AsyncPublicationStore
from worker.db.repair.restore import RECONCILE, filled_mark
from worker.errors import CipherError, RedisUnreachable
from worker.log import log
from worker.redis.client import answered
from worker.redis.publisher import TokenPublisher
from worker.scheduling.token_ends import TokenEnds

#: The lock of the pass; its note is the mark.
LOCK: Final = RECONCILE
#: A pass renews its lock; a holder that is silent for longer is gone.
LOCK_S: Final = 30.0
#: ... after the first batch that ends when this share of the time has passed: each renewal is a commit.
RENEW_SHARE: Final = 1 / 6
#: The mark while a pass is under way.
_FILLING: Final = "filling"
#: All tokens that have ended are looked through no more often: where many accounts are dead, that reads each of them.
ENDS_EVERY_S: Final = 50.0
#: Accounts in one round trip.
BATCH: Final = 1_000
#: A pass that met so many accounts whose key is missing ends, and the next goes on behind them: each plan begins one.
UNREADABLE_MAX: Final = 5_000


class Reconciled(Struct, frozen=True):
    """What one pass did."""

    published: int = 0
    unreadable: int = 0
    abandoned: int = 0
    #: Accounts whose token has ended, and that are degraded from now on.
    ended: int = 0
    #: Redis had been emptied, or is another one than before.
    refilled: bool = False


class Reconciler:
    """Compares what Redis should hold with what it holds.

    A mark in Redis (`refreshd:filled`) says that it was filled from this database; SQL remembers the mark. An
    emptied Redis has none, so its absence is noticed by one GET.
    """

    def __init__(
        self,
        *,
        redis: Redis,
        keys: Keys,
        store: AsyncPublicationStore,
        ends: TokenEnds,
        publisher: TokenPublisher,
        sealer: AccountSealer,
        clock: Clock,
        lock: AsyncFleetLock,
    ) -> None:
        self._redis = redis
        self._mark_key = filled_mark(keys)
        self._store = store
        self._ends = ends
        self._publisher = publisher
        self._sealer = sealer
        self._clock = clock
        self._lock = lock
        self._renewed_at = 0.0
        self._ends_at: float | None = None
        #: Where the pass before stopped among what Redis lacks; None: it went to the end.
        self._unpublished_after: tuple[float, str] | None = None

    async def needed(self) -> bool:
        """Return whether Redis lacks anything: a look-up in either store, cheap enough for every plan.

        Raises:
            RedisUnreachable, DatabaseUnreachable: a store is away.
        """
        mark = await self._mark()
        if mark is None:
            return True
        note, behind = await self._store.lacks(LOCK)
        return mark != note or behind

    async def reconcile(self) -> Reconciled | None:
        """Publish everything that Redis lacks; None where another process does so.

        Raises:
            RedisUnreachable, DatabaseUnreachable: it went away meanwhile; the next pass begins again.
        """
        async with self._lock.hold() as held:
            if held is None:
                return None
            self._renewed_at = self._clock.now()
            try:
                return await self._pass(held)
            except (RedisError, OSError) as error:
                raise RedisUnreachable(f"Redis went away while it was filled: {error}") from error

    async def _pass(self, held: Held) -> Reconciled:
        mark = await self._mark()
        refill = mark is None or mark != await self._lock.note()
        if refill:  # Redis is the broker too: whatever was on its way is as lost as the tokens
            await self._store.give_back_all()
            await answered(self._redis.set(self._mark_key, _FILLING))
        published, unreadable = await (self._refill() if refill else self._catch_up())
        abandoned = await self._store.close_abandoned()
        ended = await self._mark_ended()
        if refill:
            fresh = secrets.token_hex(8)
            # Only over the mark that this pass began with: a Redis emptied meanwhile has none.
            held.note = fresh if await answered(self._redis.set(self._mark_key, fresh, xx=True)) else None
        return Reconciled(published, unreadable, abandoned, ended, refill)

    async def _refill(self) -> tuple[int, int]:
        total = good = 0
        accounts = await self._store.live_accounts(None, BATCH)
        publishing: asyncio.Future[int] = asyncio.ensure_future(self._publish([]))
        try:
            while accounts:
                after = _place(accounts[-1])
                # The database reads the next batch and this one is made ready while Redis has the one before.
                earlier, publishing = publishing, asyncio.ensure_future(self._publish(accounts))
                following = self._store.live_accounts(after, BATCH)
                total += len(accounts)
                published, accounts = await asyncio.gather(earlier, following)
                good += published
            good += await publishing
        finally:
            publishing.cancel()
            # Where it failed, the batch before it did so too, and has said why.
            await asyncio.gather(publishing, return_exceptions=True)
        return good, total - good

    async def _catch_up(self) -> tuple[int, int]:
        """Publish what Redis lacks. An account that can't be read holds up none behind it."""
        total = good = 0
        after, self._unpublished_after = self._unpublished_after, None
        while accounts := await self._store.unpublished(after, BATCH):
            after = _place(accounts[-1])
            good += await self._publish(accounts, emptied=False)
            total += len(accounts)
            if total - good >= UNREADABLE_MAX:
                self._unpublished_after = after
                break
        return good, total - good

    async def _mark_ended(self) -> int:
        """Mark every waiting account whose token has ended; plans mark those that ended lately."""
        now = self._clock.now()
        if self._ends_at is not None and abs(now - self._ends_at) < ENDS_EVERY_S:
            return 0
        self._ends_at = now
        total, from_end = 0, 0.0
        while True:
            marked = await self._ends.batch(BATCH, from_end)
            if not marked.accounts:
                return total
            total, from_end = total + len(marked.accounts), marked.last_end
            await self._renew()

    async def _publish(self, accounts: Sequence[Account], *, emptied: bool = True) -> int:
        made = (
            publication(one, None, now=self._clock.now())
            if one.published_generation == STATE_UNPUBLISHED and not emptied
            else self._publication(one)
            for one in accounts
        )
        publications = [found for found in made if found]
        await self._publisher.put(publications)
        # Redis lost what SQL knows as published: a mark that is right already is not written again.
        behind = {account.id for account in accounts if account.published_generation < account.generation}
        updates = [(one.account, one.state.generation) for one in publications if one.account in behind]
        if updates:
            await self._store.mark_published(updates)
        await self._renew()
        return len(publications)

    async def _renew(self) -> None:
        if self._clock.now() - self._renewed_at >= LOCK_S * RENEW_SHARE:
            await self._lock.renew()
            self._renewed_at = self._clock.now()

    def _publication(self, account: Account) -> Publication | None:
        try:
            return publication(account, self._sealer.open(account, ACCESS_TOKEN), now=self._clock.now())
        except CipherError as error:
            log.error("not_published", account=account.id, error=str(error))
            return None

    async def _mark(self) -> str | None:
        try:
            found = await answered(self._redis.get(self._mark_key))
        except (RedisError, OSError) as error:
            raise RedisUnreachable(f"Redis can't be asked what it holds: {error}") from error
        return None if found is None else str(found)


def _place(account: Account) -> tuple[float, str]:
    """Return the account's place in the order in which readers need tokens: (end, id)."""
    return (account.expires_at if account.expires_at is not None else NO_END, account.id)
