"""The composition root: what a worker process needs, put together once, by its first task."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import threading
from collections.abc import Collection, Coroutine, Sequence
from functools import partial
from typing import Any, Final, TypeVar

import uvloop

from models.tables.account import Account, RefreshMethod
from worker.accounts.clients.changes import ClientChanges
from worker.callbacks.host.runner import CallbackRunner, make_callback_runner
from worker.clock import TOLERATED_SKEW_S
from worker.context import AppContext
from worker.db.accounts.of_client import ClientAccounts
from worker.db.accounts.stored import Accounts
from worker.db.engine import is_sqlite
from worker.db.executor import DatabaseExecutor
from worker.db.fleet.client_secrets import ClientSecrets
from worker.db.fleet.expiring_grants import Ends
from worker.db.fleet.outages import Outages
from worker.db.fleet_locks import AsyncFleetLock, FleetLock
from worker.db.planning.glance import Glance, GlanceStore
from worker.db.planning.held_accounts import HeldAccounts
from worker.db.publication.comparison import COMPARISON
from worker.db.refresh.async_stores import AsyncComparisonStore, AsyncPublicationStore, AsyncRefreshStore
from worker.db.repair.restore import filled_mark
from worker.intake.provider_threads import ProviderThreads
from worker.issuers.caller import IssuerCaller
from worker.log import log
from worker.monitoring.metrics import worker_metrics
from worker.notifications import webhook_sender
from worker.notifications.notices import Notices
from worker.notifications.webhook_client import WebhookClient
from worker.notifications.webhook_sender import WebhookSender
from worker.policy.backlog import TAKEN_WITHIN_S
from worker.policy.gates import Gate
from worker.policy.rate_limits import ASSUMED_REQUESTS_PER_S
from worker.providers.client import ProviderClient
from worker.providers.egress import Egress
from worker.providers.registry import issuer_of
from worker.redis.client import connect_async, in_words
from worker.redis.gates import Gates, read_gates, read_gates_async
from worker.redis.leases import Leases
from worker.redis.pending_answers import PendingAnswers
from worker.redis.published_tokens import PublishedTokens
from worker.redis.publisher import TokenPublisher
from worker.refresh.admission import Admission
from worker.refresh.attempt import Deadlines
from worker.refresh.caller import Caller
from worker.refresh.committer import Committer
from worker.refresh.opener import AttemptOpener
from worker.refresh.outcome import OutcomeBuilder
from worker.refresh.recovery import AnswerRecovery
from worker.refresh.refresher import SLOW_CALL_S, Refresher
from worker.refresh.requests import RequestBuilder
from worker.scheduling import comparison, planner, reconciler
from worker.scheduling.comparison import Comparison
from worker.scheduling.held_picks import HeldPicks
from worker.scheduling.idle_check import IdleCheck
from worker.scheduling.load_smoothing import works_ahead
from worker.scheduling.planner import Dispatch, Planner, PlanSettings
from worker.scheduling.reconciler import Reconciler
from worker.scheduling.token_ends import TokenEnds
from worker.settings import Settings, load_settings

T = TypeVar("T")

#: SQL threads of a process on PostgreSQL. SQLite has one writer, so one thread is the fastest there.
SQL_THREADS: Final = 4
#: New objects before the garbage collector looks for cycles: a few groups' worth.
GC_THRESHOLD: Final = 50_000


class Runtime(AppContext):
    """A worker process: one event loop in a thread of its own, and the path of a refresh on it.

    Args:
        settings: the process' settings.
        worker: its name in histories and leases. None: host and process.
        callback_runs: Python callbacks that run at once. 0: this worker runs no callback of any kind.
    """

    def __init__(self, settings: Settings, *, worker: str | None = None, callback_runs: int = 0) -> None:
        super().__init__(settings)
        self._callback_runs = callback_runs
        self.worker = worker or f"{socket.gethostname()}/{os.getpid()}"
        # The database first: while it is away each task of this process tries again, and must leave nothing behind.
        self.executor = DatabaseExecutor(1 if is_sqlite(self.engine) else SQL_THREADS)
        self.provider_threads = ProviderThreads()
        self.loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="refreshd-loop", daemon=True)
        self._thread.start()
        try:
            self.run(self._compose())
        except BaseException:
            self._let_go()
            raise
        self._warn_of_skew()
        _spare_the_collector()

    async def _read_issuers(self, accounts: Collection[Account]) -> None:
        issuers = {issuer for one in accounts if (issuer := issuer_of(one)) is not None}
        if unknown := self.issuer_providers.unknown(issuers) if issuers else []:
            await self.executor(self.issuer_providers.load, unknown)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run something on the event loop and wait for it in this thread."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result()

    def planner(self, dispatch: Dispatch) -> Planner:
        return Planner(
            schedule=self.schedule,
            pauses=self.pauses,
            held=HeldPicks(
                HeldAccounts(self.engine),
                self._read_gates,
                self.clock.now,
                self.settings.plan_interval_s,
                lambda: self.schedule.begun(TAKEN_WITHIN_S, callback=False)[0] / TAKEN_WITHIN_S,
            ),
            dispatch=dispatch,
            queue_length=self._messages_in,
            limits=self.pace,
            settings=PlanSettings(
                interval_s=self.settings.plan_interval_s,
                queue_limit=self.settings.queue_limit,
                group_size=self.settings.group_size,
                rates_matter=self._rates_matter,
            ),
            lock=self._lock(planner.LOCK, planner.LOCK_S),
        )

    def client_changes(self) -> ClientChanges:
        """Return what has accounts take over a change of their client that was interrupted."""
        return ClientChanges(
            accounts=Accounts(self.engine, self.settings.webhook_event_types),
            client_accounts=ClientAccounts(self.engine),
            provider_of=self.providers.for_schedule,
            clock=self.clock,
            requests_per_s=self.settings.requests_per_s or ASSUMED_REQUESTS_PER_S,
        )

    def _lock(self, name: str, ttl_s: float) -> FleetLock:
        return FleetLock(self.engine, name, holder=self.worker, ttl_s=ttl_s)

    def _messages_in(self, queue: str) -> int:
        with in_words(self.settings.broker):
            return int(self.broker.llen(queue))

    @property
    def _rates_matter(self) -> bool:
        return self.settings.requests_per_s is not None or self.providers.some_name_a_rate

    def _works_ahead(self, seen: Glance) -> bool:
        every_s = self.settings.plan_interval_s
        return self._rates_matter and works_ahead(seen.note, self.pace, now=seen.now, interval_s=every_s)

    def _filled(self) -> str | None:
        with in_words(self.settings.redis):
            found = self.redis.get(filled_mark(self.keys))
        return None if found is None else str(found)

    def _read_gates(self, names: Sequence[str]) -> dict[str, Gate]:
        with in_words(self.settings.redis):
            return read_gates(self.redis, self.settings.redis_prefix, names)

    def close(self) -> None:
        """Store and publish what arrived, then let go of everything."""
        self.provider_threads.close()
        self.run(self._finish())
        self._let_go()

    def _let_go(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()
        self.executor.close()
        super().close()

    async def _compose(self) -> None:
        """Compose the path of a refresh, then what keeps Redis filled and sends webhooks."""
        settings, event_types = self.settings, self.settings.webhook_event_types
        self.async_redis = connect_async(settings.redis)
        self.publisher = TokenPublisher(self.async_redis, self.keys, settings.token_seal, is_worker=True)
        self.leases = Leases(self.async_redis, self.keys, lease_s=settings.claim_seconds, holder=self.worker)
        self.gates = Gates(self.async_redis, settings.redis_prefix, call_s=settings.claim_seconds)
        self.store = AsyncRefreshStore(self.engine, self.executor, self.clock, event_types)
        self._compose_callers()
        self._compose_refresher()
        self._compose_webhooks()
        publications = AsyncPublicationStore(self.engine, self.executor, event_types)
        self.token_ends = TokenEnds(store=publications, publisher=self.publisher, clock=self.clock)
        self.reconciler = Reconciler(
            redis=self.async_redis,
            keys=self.keys,
            store=publications,
            ends=self.token_ends,
            publisher=self.publisher,
            sealer=self.sealer,
            clock=self.clock,
            lock=AsyncFleetLock(self._lock(reconciler.LOCK, reconciler.LOCK_S), self.executor),
        )
        self.comparison = Comparison(
            redis=self.async_redis,
            keys=self.keys,
            store=AsyncComparisonStore(self.engine, self.executor),
            clock=self.clock,
            lock=AsyncFleetLock(self._lock(COMPARISON, comparison.LOCK_S), self.executor),
        )
        self.idle_check = IdleCheck(
            glance=GlanceStore(self.engine, plan=planner.LOCK, fill=reconciler.LOCK).look,
            filled=self._filled,
            works_ahead=self._works_ahead,
            interval_s=self.settings.plan_interval_s,
        )

    def _compose_callers(self) -> None:
        settings = self.settings
        self.provider_client = ProviderClient(
            ca_file=settings.ca_file,
            allow_http_hosts=settings.allow_http_hosts,
            egress=Egress.of(settings),
            now=self.clock.now,
        )
        self.documents = self.document_client()
        standard = IssuerCaller(self.provider_client, self.documents, self.issuer_reader)
        self.callers: dict[RefreshMethod, Caller] = {
            RefreshMethod.BODY: standard,
            RefreshMethod.URL_QUERY: standard,
        }
        self.callback_runner: CallbackRunner | None = None
        if self._callback_runs:
            self.callback_runner = make_callback_runner(
                settings, self.async_redis, runs=self._callback_runs, now=self.clock.now
            )
            self.callers[RefreshMethod.CALLBACK] = self.callback_runner

    def _compose_refresher(self) -> None:
        settings = self.settings
        pending = PendingAnswers(self.async_redis, self.keys, self.cipher)
        self.committer = Committer(
            store=self.store,
            tokens=PublishedTokens(self.publisher, pending, self.leases),
            clock=self.clock,
            providers=self.providers.for_schedule,
            metrics=worker_metrics(),
        )
        self.admission = Admission(
            gates=self.gates,
            store=self.store,
            publisher=self.publisher,
            clock=self.clock,
            limits=self.limits,
            call_s=settings.claim_seconds,
        )
        recovery = AnswerRecovery(pending=pending, store=self.store)
        self.opener = AttemptOpener(
            leases=self.leases,
            store=self.store,
            recovery=recovery,
            requests=RequestBuilder(self.sealer, self.providers.of, self._read_issuers),
            admission=self.admission,
            methods=self.callers,
            clock=self.clock,
            deadlines=Deadlines(settings.call_timeout_s, settings.claim_seconds),
        )
        self.refresher = Refresher(
            opener=self.opener,
            callers=self.callers,
            outcomes=OutcomeBuilder(
                sealer=self.sealer, pending=pending, clock=self.clock, backoff_max_s=settings.backoff_max_s
            ),
            recovery=recovery,
            committer=self.committer,
            admission=self.admission,
            clock=self.clock,
            slow_call_s=None if self._callback_runs else SLOW_CALL_S,
        )

    def _compose_webhooks(self) -> None:
        settings, event_types = self.settings, self.settings.webhook_event_types
        self.webhook_client = (
            WebhookClient(
                settings.webhook_secrets,
                ca_file=settings.ca_file,
                now=self.clock.now,
                egress=Egress.of(settings),
            )
            if self.endpoints
            else None
        )
        self.watch = Notices(
            outages=Outages(self.engine, event_types),
            ends=Ends(self.engine, event_types),
            secrets=ClientSecrets(self.engine, event_types),
            gates=partial(read_gates_async, self.async_redis, settings.redis_prefix),
            publisher=self.publisher,
            clock=self.clock,
            executor=self.executor,
        )
        self.webhook_sender = WebhookSender(
            outbox=self.outbox,
            endpoints=self.endpoints,
            client=self.webhook_client,
            clock=self.clock,
            executor=self.executor,
            lock=AsyncFleetLock(self._lock(webhook_sender.LOCK, webhook_sender.LOCK_S), self.executor),
        )

    async def _finish(self) -> None:
        await self.refresher.drain()
        await self.committer.drain()
        await self.admission.close()
        await self.leases.close()
        await self.provider_client.aclose()
        await self.documents.aclose()
        for client in (self.callback_runner, self.webhook_client):
            if client is not None:
                await client.aclose()
        await self.async_redis.aclose()

    def _warn_of_skew(self) -> None:
        skew_s = self.clock.skew_s()
        if abs(skew_s) > TOLERATED_SKEW_S:
            log.warning(
                "clock_skew", seconds=round(skew_s, 1), remedy="synchronize this machine's clock (NTP)"
            )


def _spare_the_collector() -> None:
    """Keep what was imported out of every garbage collection, and collect less often.

    A refresh makes some hundred objects that die by their reference counts. Looking for cycles every 700 of them,
    through everything that is loaded, was a seventh of a refresh's CPU.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD, 20, 50)


_lock = threading.Lock()
_runtime: Runtime | None = None
_callback_runs = 0


def run_callbacks_here(runs: int) -> None:
    """Have this process' runtime run callbacks, so many at once. Called before the first task."""
    global _callback_runs  # noqa: PLW0603  (one per process, as the runtime)
    _callback_runs = runs


def runtime() -> Runtime:
    """Return this process' runtime; the first task of a process puts it together."""
    global _runtime  # noqa: PLW0603  (one per process, and prefork has no other place that lives that long)
    with _lock:
        if _runtime is None:
            _runtime = Runtime(load_settings(), callback_runs=_callback_runs)
        return _runtime


def close_runtime() -> None:
    """Let go of this process' runtime, if it has one."""
    global _runtime  # noqa: PLW0603
    with _lock:
        if _runtime is not None:
            _runtime.close()
            _runtime = None
