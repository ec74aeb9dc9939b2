"""Steps 7 and 8 of a refresh: store what came back, then publish it. No answer that arrived is dropped.

Answers of all groups of this process meet here. While one commit runs the next ones gather, and are committed
together; nothing waits for a call that is still under way. While the database is away, answers stay in memory
and, sealed, in Redis, and are committed in order as soon as it is back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextvars import Context
from typing import Final

from redis.exceptions import RedisError

from models.providers import Provider
from models.publication import Publication, publication
from models.tables.account import Account
from worker.clock import Clock
from worker.db.publication.store import NO_UPDATES, PublicationUpdates
from worker.db.refresh.async_stores import AsyncRefreshStore
from worker.db.refresh.completions import Completion, Stored
from worker.ending import is_ending
from worker.errors import DatabaseUnreachable, RowsLocked
from worker.log import log
from worker.monitoring.metrics import WorkerMetrics
from worker.policy.due import due, session_policy, token_times
from worker.redis.published_tokens import PublishedTokens
from worker.refresh.completed import Completed, Waiting, task_ids_of, to_keep

#: How long to wait before the database is tried again.
DATABASE_RETRY_S: Final = 1.0
#: A commit takes milliseconds. A pooler has statements wait for a database that is away (PgBouncer: 120 s): after this long
#: the answers are put aside, and the commit goes on.
COMMIT_PATIENCE_S: Final = 5.0
#: A process that ends checks this often whether its answers are safe.
DRAIN_LOOK_S: Final = 0.2
#: Answers in one commit: it stays short, and the first of them do not wait long.
BATCH_MAX: Final = 500


class Committer:
    """Commits, publishes, and releases leases, in batches."""

    def __init__(
        self,
        *,
        store: AsyncRefreshStore,
        tokens: PublishedTokens,
        clock: Clock,
        providers: Callable[[Account], Provider | None],
        metrics: WorkerMetrics,
    ) -> None:
        self._store = store
        self._tokens = tokens
        self._clock = clock
        self._providers = providers
        self._metrics = metrics
        self._waiting: list[Waiting] = []
        self._published: list[tuple[str, int]] = []
        self._unpublished: list[str] = []
        self._dropped: list[tuple[str, int]] = []
        self._outdated: list[str] = []
        #: So many of the next answers are committed alone: the database refused one of them.
        self._alone = 0
        self._database_away = False
        self._asides: set[asyncio.Task[None]] = set()
        self._commit_task: asyncio.Task[None] | None = None
        self._publishers: set[asyncio.Task[None]] = set()

    async def commit(self, completed: Completed) -> Stored | None:
        """Store and publish one attempt.

        Return None where the database is away and the answer is parked in Redis: this process stores it when the
        database is back, or the worker that loads the account next does.
        """
        waiting = Waiting(completed, asyncio.get_running_loop().create_future(), completed.stashed)
        self._waiting.append(waiting)
        self._wake()
        stored = await waiting.done
        if waiting.times is not None:
            waiting.times.published()
        return stored

    async def put_aside(self, account_id: str, sealed: str) -> None:
        """Park a token set where the account's next refresh finds it: in Redis, or else beside the row.

        Return when it is safe. While both stores are away it is tried again, as every answer is.
        """
        putting = asyncio.create_task(self._put_aside(account_id, sealed), context=Context())
        self._asides.add(putting)
        putting.add_done_callback(self._asides.discard)
        await asyncio.shield(putting)

    def republish(self, account_ids: Sequence[str]) -> None:
        """Have the stored tokens of accounts published again: a connector read an older one from Redis than SQL has."""
        if account_ids:
            self._outdated += account_ids
            self._wake()

    def dropped(self, accounts: Sequence[tuple[str, int]]) -> None:
        """Have accounts of a plan, each at the generation seen, planned again as soon as the database takes it."""
        if accounts:
            self._dropped += accounts
            self._wake()

    async def drain(self) -> None:
        """Wait until everything that arrived is stored and published, or safe in Redis."""
        while self._asides:
            await asyncio.wait(self._asides)
        while self._commit_task is not None and not self._commit_task.done():
            if self._database_away and all(
                w.stashed or w.completed.completion.seal_answer is None for w in self._waiting
            ):
                self._commit_task.cancel()
            await asyncio.wait([self._commit_task], timeout=DRAIN_LOOK_S)
        while self._publishers:
            await asyncio.wait(self._publishers)

    def _wake(self) -> None:
        if self._commit_task is None or self._commit_task.done():
            self._commit_task = asyncio.create_task(
                self._commit_all(), context=Context()
            )  # of no group alone

    async def _commit_all(self) -> None:
        while self._waiting or self._published or self._unpublished or self._dropped or self._outdated:
            batch = self._next_batch()
            updates = NO_UPDATES if batch and self._alone else self._take_updates()
            completions = [waiting.completed.completion for waiting in batch]
            try:
                stored = await self._closed(completions, updates)
            except RowsLocked as error:
                self._take_back(updates)
                await self._isolate(batch, error)
                continue
            except DatabaseUnreachable as error:
                self._take_back(updates)
                await self._set_aside(error)
                await asyncio.sleep(DATABASE_RETRY_S)
                continue
            except Exception as error:  # noqa: BLE001  (one bad row must not hold the others back)
                if batch:
                    self._take_back(updates)  # alone they are tried once, and then let go
                await self._isolate(batch, error)
                continue
            if self._database_away:
                self._metrics.waiting(0)
            self._alone, self._database_away = max(0, self._alone - 1), False
            self._forget(batch)
            for waiting in batch:
                if waiting.times is not None:
                    waiting.times.committed()
            if batch:
                publisher = asyncio.create_task(self._publish(batch, stored))
                self._publishers.add(publisher)
                publisher.add_done_callback(self._publishers.discard)

    async def _closed(self, completions: list[Completion], updates: PublicationUpdates) -> list[Stored]:
        """Commit; while that takes long, put answers aside and go on waiting."""
        closing = asyncio.ensure_future(self._store.close(completions, updates))
        while True:
            done, _ = await asyncio.wait([closing], timeout=COMMIT_PATIENCE_S)
            if done:
                return await closing
            # Each time: answers that arrived meanwhile wait behind this commit.
            await self._set_aside(
                DatabaseUnreachable(f"the commit has not ended within {COMMIT_PATIENCE_S:g} s")
            )

    def _take_updates(self) -> PublicationUpdates:
        updates = PublicationUpdates(self._published, self._unpublished, self._dropped, self._outdated)
        self._published, self._unpublished, self._dropped, self._outdated = [], [], [], []
        return updates

    def _take_back(self, updates: PublicationUpdates) -> None:
        self._published = [*updates.published, *self._published]
        self._unpublished = [*updates.unpublished, *self._unpublished]
        self._dropped = [*updates.dropped, *self._dropped]
        self._outdated = [*updates.outdated, *self._outdated]

    def _next_batch(self) -> list[Waiting]:
        """Return the first answers, one an account: two of one account are stored in their order."""
        batch: dict[str, Waiting] = {}
        for waiting in self._waiting:
            batch.setdefault(waiting.completed.completion.account.id, waiting)
            if len(batch) >= (1 if self._alone else BATCH_MAX):
                break
        return list(batch.values())

    def _forget(self, batch: list[Waiting]) -> None:
        gone = {id(waiting) for waiting in batch}
        self._waiting = [waiting for waiting in self._waiting if id(waiting) not in gone]

    async def _isolate(self, batch: list[Waiting], error: Exception) -> None:
        """Find the answer that the database refuses, so that no other waits for it."""
        log.error("commit_refused", answers=len(batch), error=repr(error))
        if batch and not self._alone:
            self._alone = len(batch)  # each alone, and without updates of what Redis has
            return
        self._alone = max(0, self._alone - 1)
        for waiting in batch:
            completion = waiting.completed.completion
            if not waiting.stashed and completion.sealed_answer is not None:
                try:
                    await self._tokens.park({completion.account.id: completion.sealed_answer})
                except (RedisError, OSError) as redis_error:
                    log.error("pending_answers_in_memory", answers=1, error=str(redis_error))
                    # It is tried again behind all others; two of one account stay in their order.
                    self._waiting.sort(
                        key=lambda one: one.completed.completion.account.id == completion.account.id
                    )
                    await asyncio.sleep(DATABASE_RETRY_S)
                    return
            self._forget([waiting])
            if waiting.done.done():
                continue
            if isinstance(error, RowsLocked):  # whoever loads the account next finds the answer
                await self._tokens.release([completion.account.id])
                waiting.done.set_result(None)
            else:
                waiting.done.set_exception(error)

    async def _publish(self, batch: list[Waiting], stored: list[Stored]) -> None:
        kept = [waiting for waiting, result in zip(batch, stored, strict=True) if result.stored]
        publications = [waiting.completed.publication for waiting in kept]
        events = [event for waiting in kept for event in waiting.events()]
        parked = {w.completed.completion.account.id: w.stashed for w in batch if w.stashed}
        edited = [w.completed.completion.account.id for w, r in zip(batch, stored, strict=True) if r.edited]
        try:
            newer = await self._tokens.publish(publications, events, to_keep(kept))
            if newer:
                publications = await self._put_above(publications, newer)
            await self._tokens.forget(parked)
            self._published += [
                (p.account, p.state.generation)
                for p in publications
                if p.token is not None and p.account not in edited
            ]
        except Exception as error:  # noqa: BLE001  (it is stored: no caller may wait for ever)
            # SQL knows what Redis lacks (`published_generation`): reconcile puts it there.
            self._unpublished += [publication.account for publication in publications]
            log.warning(
                "not_published", accounts=len(publications), error=str(error), task_ids=task_ids_of(kept)
            )
        await self._tokens.release([waiting.completed.completion.account.id for waiting in batch])
        for waiting, result in zip(batch, stored, strict=True):
            if not waiting.done.done():
                waiting.done.set_result(result)
        for waiting, result in zip(batch, stored, strict=True):
            completion = waiting.completed.completion
            self._metrics.attempt_ended(completion.account.provider, completion.attempt, stored=result.stored)
        if edited:
            await self._reschedule(edited)
        if self._published or self._unpublished:
            self._wake()

    async def _put_above(
        self, publications: Sequence[Publication], newer: Mapping[str, int]
    ) -> list[Publication]:
        """Publish above what Redis has seen, which is newer than the database: a backup was restored without a word.

        What was stored just now is the latest all the same, and readers wait for it. Return what Redis has now.
        """
        refused = [
            (p.account, p.state.generation, newer[p.account]) for p in publications if p.account in newer
        ]
        raised = await self._store.raise_above(refused)
        above = [p.at(raised[p.account]) for p in publications if p.account in raised]
        if above:
            log.error(
                "database_older_than_redis",
                accounts=len(above),
                account=above[0].account,
                redis_generation=newer[above[0].account],
                remedy="was a backup restored? `refreshd db restored` raises every account above what Redis has seen",
            )
            await self._tokens.publish(above)
        return [p for p in publications if p.account not in newer] + above

    async def _reschedule(self, account_ids: list[str]) -> None:
        """Compute due times anew, of accounts whose policy was edited during the call: the row followed the old one."""
        try:
            found = await self._store.load(account_ids)
            for account in found.values():
                provider = self._providers(account)
                if provider is not None:
                    when = due(
                        session_policy(account, provider),
                        token_times(account),
                        jitter=account.jitter,
                        now=self._clock.now(),
                    )
                    account.rescheduled(when.at, when.reason)
            await self._store.reschedule(list(found.values()))
            await self._tokens.publish([publication(a, None, now=self._clock.now()) for a in found.values()])
            self._published += [(a.id, a.generation) for a in found.values()]
        except (DatabaseUnreachable, RedisError, OSError) as error:
            self._unpublished += account_ids
            log.error("not_rescheduled", accounts=len(account_ids), error=str(error))

    async def _put_aside(self, account_id: str, sealed: str) -> None:
        while True:
            try:
                return await self._tokens.park({account_id: sealed})
            except (RedisError, OSError) as error:
                away = str(error)
            try:
                return await self._store.keep(account_id, sealed)
            except Exception as error:  # noqa: BLE001  (away, or it refuses: this is the only copy)
                log.error("pending_answers_in_memory", answers=1, error=f"{away}; {error}")
            await asyncio.sleep(DATABASE_RETRY_S)

    async def _set_aside(self, error: DatabaseUnreachable) -> None:
        """Park sealed answers in Redis while the database is away, and end the wait of their callers."""
        self._database_away = True
        self._metrics.waiting(len(self._waiting))
        aside = [
            (waiting, answer)
            for waiting in self._waiting
            if not waiting.stashed and (answer := waiting.completed.completion.sealed_answer) is not None
        ]
        fresh = {waiting.completed.completion.account.id: answer for waiting, answer in aside}
        log.error(
            "commit_deferred",
            answers=len(self._waiting),
            stashing=len(fresh),
            error=str(error),
            task_ids=task_ids_of(self._waiting),
        )
        try:
            await self._tokens.park(fresh)
        except (RedisError, OSError) as redis_error:
            log.error("pending_answers_in_memory", answers=len(fresh), error=str(redis_error))
            return
        for waiting, answer in aside:
            waiting.stashed = answer
        for waiting in self._waiting:
            # A failure is lost with this process, and its account tried again: it holds up no end.
            given_up = waiting.completed.completion.seal_answer is None and is_ending()
            if (waiting.stashed or given_up) and not waiting.done.done():
                waiting.done.set_result(None)
