"""The comparison: finds what Redis has lost without being emptied, a batch of accounts after another.

An emptied Redis lacks its mark and is filled again at once (`reconciler.py`). One that lost a part (a failover to a
replica that lagged, a restart without the last second of its file, an eviction, a stray DEL) still has the mark. A
change of its replication id or run id, keys that it evicted, or many keys fewer than at the last look begin a round at
once; besides, rounds follow each other slowly. A round reads ids and generations, no token; what is missing is noted in
SQL, and published by the reconcile that follows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from msgspec import Struct
from redis.asyncio import Redis
from redis.exceptions import RedisError

from models.redis_info import RedisInfo
from refreshd_reader.contract import Keys
from worker.clock import Clock
from worker.db.fleet_locks import AsyncFleetLock
from worker.db.publication.comparison import Progress, Published
from worker.db.refresh.async_stores import AsyncComparisonStore
from worker.errors import RedisUnreachable
from worker.log import log
from worker.redis.client import answered, run
from worker.redis.server_info import look_at

#: A holder of the lock that is silent for longer is gone. A step is far shorter.
LOCK_S: Final = 60.0
#: A step ends after this long: it runs in a thread of the workers' pool, and others have to be served.
STEP_S: Final = 5.0
#: Accounts in one statement and one round trip.
BATCH: Final = 1_000
#: Accounts a second at most, after a probable loss: a million in 80 s.
HASTY_PER_S: Final = 12_500
#: Else a step compares so many, and comes so often, seconds: a million in an hour. Only what was deleted one by one, or by a copy of
#: older data, is left to these rounds.
ROLLING_STEP: Final = 3_000
ROLLING_EVERY_S: Final = 10.0
#: Redis is asked which server it is no more often, seconds, while nothing was lost.
LOOK_EVERY_S: Final = 5.0
#: For each second of work a round rests at least so many: a database that is slow is left room.
RESTS: Final = 0.25
#: Rounds of a small fleet begin no more often, seconds.
ROUND_EVERY_S: Final = 60.0
#: A token that ends sooner than this is left alone, seconds: it may leave Redis while it is looked at.
ENDING_S: Final = 5.0
#: Times in Redis are rounded to less than this, seconds.
ROUNDED_S: Final = 1.0


class Compared(Struct, frozen=True):
    """What one step did."""

    accounts: int = 0
    missing: int = 0
    #: Why the round was begun.
    why: str = ""


class Comparison:
    """Compares, step by step, what Redis should hold with what it holds."""

    def __init__(
        self, *, redis: Redis, keys: Keys, store: AsyncComparisonStore, clock: Clock, lock: AsyncFleetLock
    ) -> None:
        self._redis = redis
        self._keys = keys
        self._store = store
        self._clock = clock
        self._lock = lock
        self._look_again_at = 0.0

    async def needed(self) -> bool:
        """Return whether a step is to be made now: one row and one round trip, now and then.

        Raises:
            RedisUnreachable, DatabaseUnreachable: a store is away.
        """
        if self.rests():
            return False
        now = self._clock.now()
        state, server = await self._store.state(), await self._look()
        if now < state.held_until < now + LOCK_S:
            return False
        progress = state.progress
        is_due = (
            progress.hasty
            or progress.lost(server) is not None
            or not _rests(progress, state.stepped_at, now=now)
        )
        self._look_again_at = now if is_due else now + LOOK_EVERY_S
        return is_due

    def rests(self) -> bool:
        """Return whether `needed` would say no without a look."""
        now = self._clock.now()
        return now < self._look_again_at < now + LOOK_EVERY_S

    async def step(self) -> Compared | None:
        """Compare for some seconds, from where the last step ended; None where another process does so.

        Raises:
            RedisUnreachable, DatabaseUnreachable: a store went away; the next step begins where this one did.
        """
        async with self._lock.hold() as held:
            if held is None:
                return None
            server, now = await self._look(), self._clock.now()
            before = Progress.of(await self._lock.note())
            if before.lost(server) is None and _is_over(before, now=now):
                return Compared()
            begun = before.seen(server, now=now)
            try:
                after, missing = await self._walk(begun)
            except (RedisError, OSError) as error:
                raise RedisUnreachable(f"Redis went away while it was compared: {error}") from error
            held.note = after.to_note()
        accounts = (
            after.last.accounts if after.last and not after.under_way else after.accounts
        ) - begun.accounts
        if missing:
            log.warning("redis_lost_keys", accounts=missing, why=begun.why, remedy="published again from SQL")
        return Compared(accounts, missing, begun.why)

    async def _walk(self, progress: Progress) -> tuple[Progress, int]:
        """Compare batch after batch until the step is over; return the progress and how much was missing."""
        until, missing, accounts = self._clock.now() + STEP_S, 0, progress.accounts
        while True:
            began = self._clock.now()
            batch = await self._store.published_after(progress.after or "", BATCH)
            if not batch:
                return progress.ended(now=self._clock.now()), missing
            expected = [one for _, one in batch if one is not None]
            lost = await self._missing(await self._suspects(expected, hasty=progress.hasty))
            marked = await self._store.mark_lost([(one.account, one.generation) for one in lost])
            missing += len(marked)
            now = self._clock.now()
            progress = progress.compared(batch[-1][0], len(batch), marked, now=now)
            if len(batch) < BATCH:
                return progress.ended(now=now), missing
            if now >= until or (not progress.hasty and progress.accounts - accounts >= ROLLING_STEP):
                return progress, missing
            busy_s = now - began
            await asyncio.sleep(max(BATCH / HASTY_PER_S - busy_s, busy_s * RESTS))

    async def _suspects(self, expected: Sequence[Published], *, hasty: bool) -> list[Published]:
        """Return those whose token or state Redis lacks, or has of an older generation.

        After a probable loss one short command each, so that the round is over sooner: the token's, or the state's where no
        token is expected. A state that was lost alone is left to a slow round.
        """
        if not expected:
            return []
        now = self._clock.now()
        pipeline = self._redis.pipeline(transaction=False)
        asked: list[Published] = []
        for one in expected:
            has_token = _has_good_token(one, now=now)
            if has_token:
                pipeline.execute_command("HGET", self._keys.token(one.account), "generation")
                asked.append(one)
            if not (has_token and hasty):
                pipeline.execute_command("HGET", self._keys.account(one.account), "generation")
                asked.append(one)
        replies = await run(pipeline)
        older = (
            one
            for one, found in zip(asked, replies, strict=True)
            if found is None or int(found) < one.generation
        )
        return list(dict.fromkeys(older))

    async def _missing(self, expected: Sequence[Published]) -> list[Published]:
        """Return those that Redis lacks, in one round trip of single-key commands."""
        if not expected:
            return []
        pipeline = self._redis.pipeline(transaction=False)
        for one in expected:
            pipeline.hget(self._keys.account(one.account), "generation")
            pipeline.hmget(self._keys.token(one.account), ["generation", "issued_at"])
        replies = iter(await run(pipeline))
        now = self._clock.now()
        return [
            one
            for one, state, (token, issued_at) in zip(expected, replies, replies, strict=True)
            if _is_missing(one, state, token, issued_at, now=now)
        ]

    async def _look(self) -> RedisInfo:
        try:
            return await answered(look_at(self._redis))
        except (RedisError, OSError) as error:
            raise RedisUnreachable(f"Redis can't be asked which server it is: {error}") from error


def _rests(progress: Progress, stepped_at: float | None, *, now: float) -> bool:
    """Return whether a slow round made a step a moment ago, or the last one has ended."""
    if progress.under_way:
        return stepped_at is not None and abs(now - stepped_at) < ROLLING_EVERY_S
    return _is_over(progress, now=now)


def _is_over(progress: Progress, *, now: float) -> bool:
    """Return whether the last round ended a moment ago."""
    last = progress.last
    return not progress.under_way and last is not None and abs(now - last.ended_at) < ROUND_EVERY_S


def _is_missing(one: Published, state: Any, token: Any, issued_at: Any, *, now: float) -> bool:
    """Return whether Redis lacks an account's state, or a token that is still good, or has an older one."""
    if state is None:
        return True
    if not _has_good_token(one, now=now):
        return False
    if token is None:
        return True
    # After a restore of the database its generation was raised above Redis', whose token is the newer one.
    is_newer = (
        one.issued_at is not None and issued_at is not None and float(issued_at) > one.issued_at + ROUNDED_S
    )
    return int(token) < one.generation and not is_newer


def _has_good_token(one: Published, *, now: float) -> bool:
    """Return whether Redis should have a token of it, and for some seconds more."""
    return one.has_token and (one.expires_at is None or one.expires_at > now + ENDING_S)
