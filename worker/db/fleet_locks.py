"""Locks of the whole fleet: one process plans, fills Redis or sends webhooks at a time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final

from msgspec import Struct
from sqlalchemy import Engine, text

from worker.db.engine import now_sql, reading, writing_one
from worker.db.executor import DatabaseExecutor

#: No lock is taken for longer: one that is held until later was taken before the database's clock was set back.
LONGEST_S: Final = 120.0


class Held(Struct):
    """A lock that is held until its block ends."""

    #: What the next holder reads; None: what the holder before noted stays.
    note: str | None = None


class FleetLock:
    """A named lock in the database. Its holder keeps it until it is released, or its time is over.

    Args:
        engine: the database.
        name: which lock.
        holder: the name of this process.
        ttl_s: seconds after which a holder that released nothing is taken for gone.
        now: SQL of the clock; None: the database's. A simulation has a clock of its own.
    """

    def __init__(
        self, engine: Engine, name: str, *, holder: str, ttl_s: float, now: str | None = None
    ) -> None:
        self.name = name
        self.holder = holder
        self.ttl_s = ttl_s
        self._engine = engine
        self._now = now or now_sql(engine)

    @contextmanager
    def hold(self) -> Iterator[Held | None]:
        """Hold the lock for a block; yield None where another process has it.

        Raises:
            DatabaseUnreachable: the lock was not taken, or not released: it ends by itself.
        """
        if not self.take():
            yield None
            return
        held = Held()
        try:
            yield held
        finally:
            self.release(note=held.note)

    def take(self) -> bool:
        """Take the lock; return False where it is held and its time is not over."""
        with writing_one(self._engine) as connection:
            taken = connection.execute(
                text(
                    f"""
                    INSERT INTO duty (name, holder, until) VALUES (:name, :holder, {self._now} + :ttl_s)
                    ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until = excluded.until
                    WHERE duty.until <= {self._now} OR duty.until > {self._now} + :longest_s RETURNING name
                    """
                ),
                {"name": self.name, "holder": self.holder, "ttl_s": self.ttl_s, "longest_s": LONGEST_S},
            ).first()
        return taken is not None

    def renew(self) -> None:
        """Hold the lock for its whole time from now on, where this process holds it still."""
        with writing_one(self._engine) as connection:
            connection.execute(
                text(f"UPDATE duty SET until = {self._now} + :ttl_s WHERE name = :name AND holder = :holder"),
                {"name": self.name, "holder": self.holder, "ttl_s": self.ttl_s},
            )

    def release(self, *, note: str | None = None) -> None:
        """Release the lock, where this process holds it still, and leave a note for the next holder."""
        with writing_one(self._engine) as connection:
            connection.execute(
                text(
                    f"""
                    UPDATE duty SET until = 0, finished_at = {self._now}, note = coalesce(:note, note)
                    WHERE name = :name AND holder = :holder
                    """
                ),
                {"name": self.name, "holder": self.holder, "note": note},
            )

    def note(self) -> str | None:
        """Return what the last holder noted."""
        with reading(self._engine) as connection:
            found = connection.execute(
                text("SELECT note FROM duty WHERE name = :name"), {"name": self.name}
            ).scalar()
        return None if found is None else str(found)


class AsyncFleetLock:
    """A `FleetLock` for the event loop: its statements run in a thread of the executor."""

    def __init__(self, lock: FleetLock, executor: DatabaseExecutor) -> None:
        self.name = lock.name
        self.ttl_s = lock.ttl_s
        self.note = executor.awaitable(lock.note)
        self.renew = executor.awaitable(lock.renew)
        self._take = executor.awaitable(lock.take)
        self._release = executor.awaitable(lock.release)

    @asynccontextmanager
    async def hold(self) -> AsyncIterator[Held | None]:
        """Hold the lock for a block, as `FleetLock.hold` does."""
        if not await self._take():
            yield None
            return
        held = Held()
        try:
            yield held
        finally:
            await self._release(note=held.note)
