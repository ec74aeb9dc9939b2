"""What the API process stands on. It has no key that opens anything, whatever its settings say."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from functools import cached_property
from typing import Any, Final, ParamSpec, TypeVar

from sqlalchemy import Engine, text

from refreshd_reader._async.reader import AsyncReader
from worker.accounts.grants.replacement import GrantStore
from worker.accounts.grants.service import GrantService
from worker.api.event_hub import EventHub
from worker.api.key_cache import KeyCache
from worker.api.rate_limits import RateLimits
from worker.context import AppContext
from worker.crypto.intake import IntakeSealer
from worker.crypto.keyring import source_of
from worker.crypto.sealer import TokenSealer
from worker.db.engine import check_schema, database_now, is_sqlite, make_engine, reading
from worker.db.executor import DatabaseExecutor
from worker.db.intake.api_keys import ApiKeys
from worker.db.intake.idempotency import Idempotency
from worker.db.publication.store import PublicationStore
from worker.db.records.audit import AuditTrail
from worker.errors import RefreshdError, SettingsError
from worker.intake.client import IntakeClient
from worker.log import log
from worker.redis.client import connect_async
from worker.redis.publisher import TokenPublisher
from worker.settings import WEBHOOK_TYPES, Settings
from worker.settings.api import ApiSettings

P = ParamSpec("P")
T = TypeVar("T")

#: Views without what is sealed (deploy/postgresql/api.sql).
VIEWS: Final = "refreshd_unsealed"
#: SQL threads of the process: a request waits for a commit, and others go on.
SQL_THREADS: Final = 8
_SEES_LESS: Final = (
    f"SELECT to_regclass('{VIEWS}.account') IS NOT NULL "
    "AND NOT has_column_privilege('account', 'access_token_sealed', 'SELECT')"
)


class NoIntakeKey(RefreshdError):
    """REFRESHD_INTAKE_KEY is not set, so no secret can be taken in."""


class ApiContext(AppContext):
    """Stores, caches and limits of one API process. Nothing is opened before it is used."""

    def __init__(self, settings: Settings, api: ApiSettings) -> None:
        if source_of(settings) is not None:
            log.warning(
                "keys_in_api_process",
                remedy="unset REFRESHD_KEYS, REFRESHD_KEYS_FILE and REFRESHD_KEYS_COMMAND here: the API needs "
                "REFRESHD_INTAKE_KEY alone (`refreshd keys intake` prints it)",
            )
        super().__init__(settings.model_copy(update={"keys": None, "keys_file": None, "keys_command": None}))
        self.api = api
        self.limits_of_keys = RateLimits(api.requests_per_s)
        #: Of browsers, which have no key.
        self.limits_of_addresses = RateLimits(api.pages_per_s)
        #: Clients of the event stream, now.
        self.event_clients = 0
        self.host = socket.gethostname()
        # Threads would otherwise open the database twice.
        self._opening = threading.RLock()

    @property
    def has_keys(self) -> bool:
        """Return False: this process opens nothing."""
        return False

    @property
    def writer(self) -> Engine:
        """The database as it is written. Of what is sealed, a role for this process can read nothing here."""
        with self._opening:
            return self._writer

    @cached_property
    def _writer(self) -> Engine:
        engine = make_engine(self.settings.database, pool_size=SQL_THREADS)
        try:
            check_schema(engine)
            with reading(engine) as connection:
                self.clock.set(database_now(connection))
        except BaseException:
            engine.dispose()
            raise
        return engine

    @property
    def engine(self) -> Engine:
        """The database as it is read: through views without what is sealed, where the role sees no more."""
        with self._opening:
            return self._reader

    @cached_property
    def _reader(self) -> Engine:
        if is_sqlite(self._writer):
            return self._writer
        with reading(self._writer) as connection:
            sees_less = connection.execute(text(_SEES_LESS)).scalar_one()
        if not sees_less:
            return self._writer
        return make_engine(self.settings.database, pool_size=SQL_THREADS, search_path=VIEWS)

    @cached_property
    def readers(self) -> DatabaseExecutor:
        return DatabaseExecutor(SQL_THREADS)

    @cached_property
    def writers(self) -> DatabaseExecutor:
        """SQLite has one writer: a second thread would poll for its turn."""
        return DatabaseExecutor(1 if is_sqlite(self.writer) else SQL_THREADS)

    async def read(self, run: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run what reads the database in a thread."""
        return await self.readers(run, *args, **kwargs)

    async def write(self, run: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run what writes the database in a thread."""
        if "_writer" not in vars(self):
            await self.readers(lambda: self.writer)
        return await self.writers(run, *args, **kwargs)

    @cached_property
    def api_keys(self) -> ApiKeys:
        return ApiKeys(self.writer)

    @cached_property
    def key_cache(self) -> KeyCache:
        return KeyCache(
            find=lambda key_id: self.read(lambda: self.api_keys.find(key_id)),
            note_use=lambda key_id: self.write(lambda: self.api_keys.note_use(key_id)),
            now=self.clock.now,
        )

    @cached_property
    def idempotency(self) -> Idempotency:
        return Idempotency(self.writer)

    @cached_property
    def async_redis(self) -> Any:
        return connect_async(self.settings.redis)

    @cached_property
    def reply_redis(self) -> Any:
        """Where workers' replies are waited for: each holds a connection, for which no publication shall wait."""
        return connect_async(self.settings.redis)

    @cached_property
    def events(self) -> EventHub:
        """The stream of events, for all who listen to it."""
        return EventHub(self.async_redis, self.keys.events)

    @cached_property
    def publisher(self) -> TokenPublisher:
        return TokenPublisher(self.async_redis, self.keys)

    @property
    def publishes(self) -> bool:
        """Return whether this process publishes what it is given: workers do where published tokens are sealed."""
        return not self.api.sealed_tokens and self.settings.publish_keys is None

    @cached_property
    def grants(self) -> GrantService:
        """Takes grants in without a worker."""
        told = frozenset(self.settings.webhook_types or WEBHOOK_TYPES) if self.api.webhooks else frozenset()
        store = GrantStore(
            engine=self.writer,
            sealer=TokenSealer(self.intake_sealer),
            providers=self.providers,
            clock=self.clock,
            told=told | self.settings.webhook_event_types,
        )
        return GrantService(
            store=store,
            publisher=self.publisher,
            marks=PublicationStore(self.writer),
            executor=self.writers,
        )

    @cached_property
    def reader(self) -> AsyncReader:
        """Reads tokens as connectors do, where REFRESHD_API_TOKENS allows it."""
        publish_keys = self.settings.publish_keys
        return AsyncReader(
            self.async_redis,
            prefix=self.settings.redis_prefix,
            keys=None if publish_keys is None else publish_keys.get_secret_value(),
        )

    @cached_property
    def intake_sealer(self) -> IntakeSealer:
        """Seals what is taken in.

        Raises:
            NoIntakeKey: there is no public key to seal to.
        """
        key = self.settings.intake_key
        if key is None:
            raise NoIntakeKey(
                "REFRESHD_INTAKE_KEY is not set: `refreshd keys intake` prints it where REFRESHD_KEYS is set"
            )
        return IntakeSealer.of(key.get_secret_value())

    @cached_property
    def workers(self) -> IntakeClient:
        """Asks workers for what this process can't do itself."""
        from worker.intake.client import send_with

        return IntakeClient(
            redis=self.reply_redis,
            prefix=self.settings.redis_prefix,
            sealer=self.intake_sealer,
            send=send_with(celery_app()),
            now=self.clock.now,
        )

    async def grant_service(self) -> GrantService:
        """Return `grants`; the database is opened beside the event loop."""
        if "grants" not in vars(self):
            await self.readers(lambda: (self.writer, self.providers))
        return self.grants

    @cached_property
    def trail(self) -> AuditTrail:
        """The audit trail, as it is written."""
        return AuditTrail(self.writer)

    async def intake(self) -> IntakeClient:
        """Return `workers`; what it brings is imported beside the event loop.

        Raises:
            NoIntakeKey, SettingsError: no worker can be asked.
        """
        if "workers" not in vars(self):
            await self.readers(celery_app)
        return self.workers

    async def warm(self) -> None:
        """Open and import beside the first requests what they would wait for; what fails here is said by what needs it."""
        try:
            await self.grant_service()
            await self.intake()
        except RefreshdError as error:
            log.warning("api_not_ready", error=str(error))

    async def aclose(self) -> None:
        """Close what was opened."""
        opened = vars(self)
        if "grants" in opened:
            await self.grants.close()
        if "events" in opened:
            await self.events.close()
        if "reader" in opened:
            await self.reader.close()
        for name in ("async_redis", "reply_redis"):
            if name in opened:
                await opened[name].aclose()
        for name in ("readers", "writers"):
            if name in opened:
                opened[name].close()
        for name in ("_writer", "_reader"):
            if name in opened:
                opened[name].dispose()
        self.close()


def celery_app() -> Any:
    """Return the Celery application, which brings Celery: a second of imports that reads need not wait for.

    Raises:
        SettingsError: its settings can't be used.
    """
    try:
        from worker.app import app
    except SystemExit as error:
        raise SettingsError(str(error)) from None
    return app
