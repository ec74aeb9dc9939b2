"""Grants as a process takes them in, hundreds a second: stored together, published together, each answered for itself.

What waits while one commit is under way goes into the next, so that a commit's price is shared by all of them. Where few
ask at a time, those who were just answered are waited for: else the first of them that is back has a commit of its own, and
the others wait for two. That Redis has the grants is noted with the next commit, or once nothing waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from msgspec import Struct
from redis.exceptions import RedisError

from worker.accounts.entry import RowRefused
from worker.accounts.grants.replacement import Grant, GrantResult, GrantStore, StoredGrant
from worker.db.executor import DatabaseExecutor
from worker.db.publication.store import PublicationStore
from worker.errors import DatabaseUnreachable, RefreshdError
from worker.log import log
from worker.redis.publisher import TokenPublisher

#: Grants in one commit: its rows are locked for some 20 ms.
BATCH: Final = 50
#: So long nothing has to come before a transaction of its own notes what Redis has: who asks one thing after another would
#: wait for that commit each time.
QUIET_S: Final = 0.2
#: Grants in a commit from which on its price per grant is small, and nobody is waited for.
FEW: Final = 8
#: So long each of those who were answered is waited for, and once more: an answer, a client's turn, and its next request take
#: two milliseconds, and for each further client this process is busy for another one.
TOGETHER_S: Final = 0.0012
#: So long it is waited for Redis, which gives the answers.
ANSWERED_S: Final = 0.01
#: Where most of them did not come, that many commits go by before it is tried again.
ALONE: Final = 20


class TakenGrant(Struct, frozen=True):
    """A grant that is stored, and whether its token can be read in Redis. If not, a worker publishes it."""

    stored: StoredGrant
    published: bool


class _Waiting(Struct):
    grant: Grant
    answer: asyncio.Future[TakenGrant]


class GrantService:
    """Takes grants in. One per event loop.

    Args:
        store: stores them.
        publisher: publishes them, in clear: a process that can't seal what is published does not take grants in itself.
        marks: notes what Redis has.
        executor: threads for SQL.
    """

    def __init__(
        self,
        *,
        store: GrantStore,
        publisher: TokenPublisher,
        marks: PublicationStore,
        executor: DatabaseExecutor,
    ) -> None:
        self._store = store
        self._publisher = publisher
        self._marks = marks
        self._sql = executor
        self._waiting: list[_Waiting] = []
        self._published: list[tuple[str, int]] = []
        self._running: asyncio.Task[None] | None = None
        self._came = asyncio.Event()
        self._closing = False
        self._publishing: set[asyncio.Task[None]] = set()
        #: Of the last commit's grants, how many have been followed by no other: their clients may be about to ask again.
        self._coming = 0
        #: When answers were given for the last time, on the event loop's clock.
        self._answered_at = 0.0
        #: Commits that go by without waiting for those who were answered.
        self._alone = 0

    async def put(self, grant: Grant) -> TakenGrant:
        """Store a grant, and publish its token before the answer.

        Raises:
            UnknownAccount: there is no such account, or it lacks a label that the grant requires.
            RowRefused: it can't be stored; another account has its refresh token, say.
            Moved: the account changed each time between being read and being stored.
            NeedsWorker: only a worker can store it.
            DatabaseUnreachable: whether it is stored is unknown; to ask again does no harm.
        """
        # Sealed here, while the threads wait for the database, and no other transaction for this one.
        one = _Waiting(self._store.sealed(grant), asyncio.get_running_loop().create_future())
        self._waiting.append(one)
        self._coming = max(0, self._coming - 1)
        self._came.set()
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._run())
        # An asker that goes away takes nothing back.
        return await asyncio.shield(one.answer)

    async def close(self) -> None:
        """Answer what waits, and note what was published."""
        self._closing = True
        self._came.set()
        if self._running is not None:
            await self._running

    async def _run(self) -> None:
        while self._waiting or self._publishing or self._published:
            self._came.clear()
            if self._waiting:
                await self._gather()
                batch, self._waiting = self._waiting[:BATCH], self._waiting[BATCH:]
                await self._take(batch)
            elif not await self._more_came():
                await self._note()

    async def _gather(self) -> None:
        """Wait for those who were just answered, to store their next grants together with what waits."""
        if self._alone or not self._coming or self._coming + len(self._waiting) > FEW or self._closing:
            self._alone = max(0, self._alone - 1)
            return
        if self._publishing:  # no longer than a healthy Redis takes: others wait for their commit
            await asyncio.wait(self._publishing, timeout=ANSWERED_S)
        until = self._answered_at + TOGETHER_S * (1 + self._coming)
        if until < asyncio.get_running_loop().time():
            return
        expected = self._coming
        with suppress(TimeoutError):
            async with asyncio.timeout_at(until):
                while self._coming and not self._closing:
                    self._came.clear()
                    await self._came.wait()
        if self._coming * 2 > expected:
            self._alone = ALONE

    async def _more_came(self) -> bool:
        """Wait for further grants, and for what is being published; False: none came within `QUIET_S`."""
        if self._publishing:
            coming = asyncio.ensure_future(self._came.wait())
            await asyncio.wait({coming, *self._publishing}, return_when=asyncio.FIRST_COMPLETED)
            coming.cancel()
            return True
        if not self._closing:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._came.wait(), QUIET_S)
        return bool(self._waiting)

    async def _take(self, batch: Sequence[_Waiting]) -> None:
        published, self._published = self._published, []
        self._coming = 0
        try:
            results = await self._sql(self._store.store, [one.grant for one in batch], published=published)
        except Exception as error:  # noqa: BLE001  (each asker gets it)
            for one in batch:
                _fail(one, error)
            return
        done: list[tuple[_Waiting, StoredGrant]] = []
        for one, result in zip(batch, results, strict=True):
            if isinstance(result, StoredGrant):
                done.append((one, result))
            else:
                _fail(one, result)
        if done:
            self._coming = len(done)
            task = asyncio.create_task(self._publish(done))
            self._publishing.add(task)
            task.add_done_callback(self._publishing.discard)

    async def _publish(self, done: Sequence[tuple[_Waiting, StoredGrant]]) -> None:
        """Publish while the next batch is being stored; Redis keeps the newer one, whichever comes first."""
        stored = [result for _, result in done]
        try:
            newer = await self._publisher.put(
                [one.publication for one in stored], [event for one in stored for event in one.events]
            )
        except (RedisError, OSError) as error:
            log.warning("grants_not_published", grants=len(stored), error=str(error))
            newer = {one.account.id: one.account.generation for one in stored}
        for waiting, result in done:
            account = result.account
            published = account.id not in newer
            if published and result.publication.token is not None:
                self._published.append((account.id, account.generation))
            if not waiting.answer.done():
                waiting.answer.set_result(TakenGrant(result, published))
        self._answered_at = asyncio.get_running_loop().time()

    async def _note(self) -> None:
        published, self._published = self._published, []
        try:
            await self._sql(self._marks.mark_published, published)
        except DatabaseUnreachable as error:
            # A worker publishes them once more, which changes nothing.
            log.warning("publications_not_noted", accounts=len(published), error=str(error))


def _fail(one: _Waiting, error: Exception | GrantResult) -> None:
    if not one.answer.done() and isinstance(error, Exception):
        one.answer.set_exception(_copy(error))


def _copy(error: Exception) -> Exception:
    """Return an error of the asker's own: a traceback would grow with each of those that share it."""
    known = isinstance(error, RefreshdError | RowRefused)
    return error.with_traceback(None) if known else RuntimeError(type(error).__name__)
