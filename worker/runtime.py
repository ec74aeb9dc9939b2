"""The composition root: what a process needs, put together once, and in a worker after the fork.

`Stores` is what every command needs: settings, keys, database, providers. `Runtime` adds the event loop and
everything that refreshes.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import socket
import threading
from collections.abc import Coroutine
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any, Final, TypeVar

import uvloop
from redis import Redis
from sqlalchemy import Engine

from models.account import Account, RefreshMethod
from models.budget import Breaker, Limits
from models.presets import PresetError, load_providers
from models.provider import Provider
from refreshd_reader.contract import Keys
from worker.admission import Admission
from worker.closing import Closer
from worker.errors import SettingsError
from worker.events import log
from worker.io.budget import Budgets
from worker.io.callback import CallbackCaller, make_callback_caller
from worker.io.cipher import Cipher, generate_key, parse_keys
from worker.io.clock import TOLERATED_SKEW_S, Clock
from worker.io.database import check_schema, database_now, is_sqlite, make_engine, reading
from worker.io.history import History
from worker.io.lease import Leases
from worker.io.ledger import Ledger
from worker.io.offload import Offload
from worker.io.provider import ProviderClient
from worker.io.redis import connect, connect_async
from worker.io.schedule import Schedule
from worker.io.shelf import Shelf
from worker.io.stash import Stash
from worker.io.vault import Vault
from worker.plan import Dispatch, Planner
from worker.policy.budget import CLIENT_PAUSE_S, limits
from worker.reconcile import Reconciler
from worker.refresh import Caller, Refresher
from worker.settings import Settings, load_settings
from worker.settle import Settler

T = TypeVar("T")

#: SQL threads of a process on PostgreSQL. SQLite has one writer, so one thread is the fastest there.
SQL_THREADS: Final = 4
#: New objects before the garbage collector looks for cycles: a few groups' worth.
GC_THRESHOLD: Final = 50_000
#: Where a refresh of an account of unknown provider starts from.
GENERIC: Final = "generic"


class Providers:
    """Finds the provider of an account."""

    def __init__(self, file: Path | None) -> None:
        try:
            self.known = load_providers(file)
        except PresetError as error:
            raise SettingsError(f"REFRESHD_PROVIDERS_FILE: {error}") from None

    @cached_property
    def some_name_a_rate(self) -> bool:
        """Whether any provider's data names a rate, so that looking ahead is worth its query."""
        return any(provider.requests_per_s is not None for provider in self.known.values())

    def of(self, account: Account) -> Provider | None:
        """Give an account's provider with the account's own knobs.

        A name that nobody described is plain OAuth 2.0 at the account's own URL; None where it has none.
        """
        provider = self.known.get(account.provider)
        if provider is None:
            if account.token_url is None and account.callback is None:
                return None
            provider = self.known[GENERIC]
        return provider.overridden(json.loads(account.knobs))


class Stores:
    """What every command needs. Nothing is opened before it is used."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.keys = Keys(settings.redis_prefix)
        self.clock = Clock()

    @cached_property
    def engine(self) -> Engine:
        """The database, checked.

        Raises:
            SchemaOutdated, DatabaseUnreachable: it can't be used.
        """
        engine = make_engine(self.settings.database)
        check_schema(engine)
        with reading(engine) as connection:
            self.clock.set(database_now(connection))
        return engine

    @cached_property
    def cipher(self) -> Cipher:
        return load_cipher(self.settings)

    @cached_property
    def vault(self) -> Vault:
        return Vault(self.cipher)

    @cached_property
    def providers(self) -> Providers:
        return Providers(self.settings.providers_file)

    def limits(self, provider: Provider | None) -> Limits:
        """Give what a provider takes: its data's limits, else the settings'."""
        return limits(
            provider or self.providers.known[GENERIC],
            requests_per_s=self.settings.requests_per_s,
            max_in_flight=self.settings.max_in_flight,
        )

    @cached_property
    def redis(self) -> Redis:
        return connect(self.settings.redis)

    @cached_property
    def history(self) -> History:
        return History(self.engine)

    @cached_property
    def schedule(self) -> Schedule:
        return Schedule(self.engine)

    def close(self) -> None:
        """Close what was opened."""
        opened = vars(self)
        if "redis" in opened:
            self.redis.close()
        if "engine" in opened:
            self.engine.dispose()


class Runtime(Stores):
    """A worker process: one event loop in a thread of its own, and the path of a refresh on it."""

    def __init__(
        self, settings: Settings, *, worker: str | None = None, runs_callbacks: bool = False
    ) -> None:
        super().__init__(settings)
        self._runs_callbacks = runs_callbacks
        self.worker = worker or f"{socket.gethostname()}/{os.getpid()}"
        self.loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="refreshd-loop", daemon=True)
        self._thread.start()
        self.offload = Offload(1 if is_sqlite(self.engine) else SQL_THREADS)
        self.run(self._compose())
        self._warn_of_skew()
        _spare_the_collector()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run something on the event loop and wait for it in this thread."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result()

    def planner(self, dispatch: Dispatch, queue: str) -> Planner:
        return Planner(
            schedule=self.schedule,
            dispatch=dispatch,
            queue_length=lambda: int(self.redis.llen(queue)),
            limits=lambda name: self.limits(self.providers.known.get(name)),
            rates_matter=self.settings.requests_per_s is not None or self.providers.some_name_a_rate,
            interval_s=self.settings.plan_interval_s,
            queue_limit=self.settings.queue_limit,
            group_size=self.settings.group_size,
            holder=self.worker,
        )

    def close(self) -> None:
        """Store and publish what arrived, then let go of everything."""
        self.run(self._finish())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()
        self.offload.close()
        super().close()

    async def _compose(self) -> None:
        settings = self.settings
        self.async_redis = connect_async(settings.redis)
        ledger = Ledger(self.engine, self.clock)
        self.shelf = Shelf(self.async_redis, self.keys)
        stash = Stash(self.async_redis, self.keys, self.cipher)
        self.leases = Leases(self.async_redis, self.keys, lease_s=settings.claim_seconds, holder=self.worker)
        self.settler = Settler(
            ledger=ledger,
            shelf=self.shelf,
            stash=stash,
            leases=self.leases,
            offload=self.offload,
            clock=self.clock,
            providers=self.providers.of,
        )
        self.provider_client = ProviderClient(
            ca_file=settings.ca_file, allow_http_hosts=settings.allow_http_hosts, now=self.clock.now
        )
        self.budgets = Budgets(self.async_redis, settings.redis_prefix, call_s=settings.claim_seconds)
        self.callers: dict[RefreshMethod, Caller] = {
            RefreshMethod.BODY: self.provider_client,
            RefreshMethod.URL_QUERY: self.provider_client,
        }
        self.callback_caller: CallbackCaller | None = None
        if self._runs_callbacks:
            self.callback_caller = make_callback_caller(settings, self.async_redis, now=self.clock.now)
            self.callers[RefreshMethod.CALLBACK] = self.callback_caller
        self.refresher = Refresher(
            leases=self.leases,
            ledger=ledger,
            history=self.history,
            closer=Closer(
                vault=self.vault, stash=stash, clock=self.clock, backoff_max_s=settings.backoff_max_s
            ),
            settler=self.settler,
            stash=stash,
            vault=self.vault,
            callers=self.callers,
            providers=self.providers.of,
            clock=self.clock,
            offload=self.offload,
            admission=Admission(
                budgets=self.budgets,
                clients=Budgets(
                    self.async_redis,
                    f"{settings.redis_prefix}client:",
                    call_s=settings.claim_seconds,
                    breaker=Breaker(threshold=1, pause_s=CLIENT_PAUSE_S, pause_max_s=settings.backoff_max_s),
                ),
                shelf=self.shelf,
                ledger=ledger,
                clock=self.clock,
                offload=self.offload,
                limits=self.limits,
            ),
            call_timeout_s=settings.call_timeout_s,
            claim_s=settings.claim_seconds,
        )
        self.reconciler = Reconciler(
            redis=self.async_redis,
            keys=self.keys,
            schedule=self.schedule,
            shelf=self.shelf,
            vault=self.vault,
            clock=self.clock,
            offload=self.offload,
            holder=self.worker,
        )

    async def _finish(self) -> None:
        await self.settler.drain()
        await self.budgets.close()
        await self.leases.close()
        await self.provider_client.aclose()
        if self.callback_caller is not None:
            await self.callback_caller.aclose()
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
_runs_callbacks = False


def run_callbacks_here() -> None:
    """Have the runtimes of this process, and of those forked from it, run callbacks."""
    global _runs_callbacks  # noqa: PLW0603  (decided once, before the pool's processes are forked)
    _runs_callbacks = True


def runtime() -> Runtime:
    """Give this process' runtime; the first task of a process puts it together."""
    global _runtime  # noqa: PLW0603  (one per process, and prefork has no other place that lives that long)
    with _lock:
        if _runtime is None:
            _runtime = Runtime(load_settings(), runs_callbacks=_runs_callbacks)
        return _runtime


def close_runtime() -> None:
    """Let go of this process' runtime, if it has one."""
    global _runtime  # noqa: PLW0603
    with _lock:
        if _runtime is not None:
            _runtime.close()
            _runtime = None


def load_cipher(settings: Settings) -> Cipher:
    """Give the keys: REFRESHD_KEYS, else the data folder's; made there for a SQLite that has none.

    Raises:
        SettingsError: there is no key, or one that can't be read.
    """
    if settings.keys is not None:
        return Cipher(parse_keys(settings.keys.get_secret_value()))
    with suppress(FileNotFoundError):
        return Cipher(parse_keys(settings.keys_file.read_text(encoding="utf-8")))
    if not settings.database.startswith("sqlite"):
        raise SettingsError(
            "REFRESHD_KEYS is not set: secrets are not stored unsealed. Make a key with `refreshd keys generate`, "
            "set it for every worker and command, and keep a copy: without it every grant is lost"
        )
    log.warning(
        "key_made", file=str(make_key(settings)), remedy="keep a copy: without it every grant is lost"
    )
    return load_cipher(settings)


def make_key(settings: Settings) -> Path:
    """Make a key in the data folder, readable by its owner alone. One that is there stays."""
    settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    with suppress(FileExistsError):
        descriptor = os.open(settings.keys_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(generate_key() + "\n")
    return settings.keys_file
