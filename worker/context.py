"""What every command and worker stands on: settings, keys, database, providers. Opened when first used."""

from __future__ import annotations

import getpass
import os
import socket
from functools import cached_property
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace
from sqlalchemy import Engine

from refreshd_reader.contract import Keys
from worker.clock import Clock, begin_shared_now
from worker.crypto.keyring import load_cipher, source_of
from worker.db.engine import check_schema, database_now, make_engine, reading, require_database
from worker.db.postgresql.password import password_of
from worker.settings import Settings

if TYPE_CHECKING:  # a command loads the stores that it uses: each brings tables, or clients of HTTP and Redis
    from redis import Redis

    from models.act import Actor
    from models.providers import Provider
    from models.rate_limit import Limits
    from worker.crypto.cipher import Cipher
    from worker.crypto.sealer import AccountSealer
    from worker.db.accounts.clients import Clients
    from worker.db.intake.issuers import Issuers
    from worker.db.outbox import Outbox
    from worker.db.planning.pauses import Pauses
    from worker.db.planning.schedule import Schedule
    from worker.db.publication.store import PublicationStore
    from worker.db.records.audit import AuditTrail
    from worker.db.records.history import History
    from worker.issuers.stored import IssuerProviders, IssuerReader
    from worker.notifications.webhook_client import Endpoint
    from worker.providers.discovery.fetch import DocumentClient
    from worker.providers.registry import Providers

#: This machine's own hosts: `up` and `demo` refresh at them without TLS.
LOOPBACK_HOSTS: Final = ("localhost", "127.0.0.1", "::1")
#: The file in the data folder that `up` and `demo` lock while they run, and leave behind.
UP_LOCK: Final = "up.lock"


class AppContext:
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
        require_database(self.settings.database)
        engine = make_engine(self.settings.database, password=password_of(self.settings))
        try:
            check_schema(engine)
            with reading(engine) as connection:
                self.clock.set(database_now(connection))
                begin_shared_now(self.clock.now())  # commands send messages, too
        except BaseException:
            engine.dispose()
            raise
        return engine

    @cached_property
    def cipher(self) -> Cipher:
        if self.will_make_key:
            from worker.db.fleet.sealed import refuse_new_key

            refuse_new_key(self.settings)
        return load_cipher(self.settings)

    @property
    def has_keys(self) -> bool:
        """Whether anything can be opened here. Whoever only looks needs no key, and makes none."""
        return source_of(self.settings) is not None or self.settings.made_keys_file.exists()

    @property
    def will_make_key(self) -> bool:
        """Whether the first secret that is stored makes a key: in the data folder of a SQLite that has none."""
        return not self.has_keys and self.settings.database.startswith("sqlite")

    @cached_property
    def sealer(self) -> AccountSealer:
        from worker.crypto.sealer import AccountSealer

        return AccountSealer(self.cipher)

    @cached_property
    def providers(self) -> Providers:
        from worker.providers.registry import Providers

        return Providers(self.settings.providers_file, self._issuer_provider)

    def _issuer_provider(self, issuer: str) -> Provider | None:
        return self.issuer_providers(issuer)  # the database is opened for those who ask

    @cached_property
    def issuers(self) -> Issuers:
        from worker.db.intake.issuers import Issuers

        return Issuers(self.engine)

    @cached_property
    def issuer_providers(self) -> IssuerProviders:
        """The providers that issuers' stored metadata describe."""
        from worker.issuers.stored import IssuerProviders

        return IssuerProviders(self.issuers)

    @property
    def issuer_reader(self) -> IssuerReader:
        """What reads issuers' metadata from their servers."""
        from worker.issuers.stored import IssuerReader

        return IssuerReader(self.issuers, self.issuer_providers, self.clock.now)

    def document_client(self) -> DocumentClient:
        """Return what fetches metadata; it belongs to one event loop."""
        from worker.providers.discovery.fetch import DocumentClient
        from worker.providers.egress import Egress

        settings = self.settings
        return DocumentClient(
            ca_file=settings.ca_file,
            allow_http_hosts=self.allow_http_hosts,
            egress=Egress.of(settings),
        )

    def limits(self, provider: Provider | None) -> Limits:
        """Return what a provider takes: its data's limits, else the settings'."""
        from worker.policy.rate_limits import limits
        from worker.providers.registry import GENERIC

        return limits(
            provider or self.providers.known[GENERIC],
            requests_per_s=self.settings.requests_per_s,
            max_in_flight=self.settings.max_in_flight,
        )

    def pace(self, name: str) -> Limits:
        """Return what a plan goes by for all accounts of a provider.

        A provider without one host (a host for each tenant, or a name that no preset describes) has no common rate: its
        rate is a host's, and the budget of each host paces its calls.
        """
        provider = self.providers.known.get(name)
        found = self.limits(provider)
        return replace(found, requests_per_s=None) if provider is None or provider.host is None else found

    @cached_property
    def allow_http_hosts(self) -> tuple[str, ...]:
        """Hosts that may be asked without TLS: the settings', and this machine's own in the data folder of an `up`."""
        own = LOOPBACK_HOSTS if (self.settings.data_dir / UP_LOCK).exists() else ()
        return (*self.settings.allow_http_hosts, *own)

    @cached_property
    def redis(self) -> Redis:
        return _connected(self.settings.redis)

    @cached_property
    def broker(self) -> Redis:
        """The Redis of the task queues: that of the tokens, where no other is set."""
        return self.redis if self.settings.broker_url is None else _connected(self.settings.broker)

    @cached_property
    def history(self) -> History:
        from worker.db.records.history import History

        return History(self.engine)

    @cached_property
    def schedule(self) -> Schedule:
        from worker.db.planning.schedule import Schedule

        return Schedule(self.engine)

    @cached_property
    def publication_store(self) -> PublicationStore:
        from worker.db.publication.store import PublicationStore

        return PublicationStore(self.engine)

    @cached_property
    def outbox(self) -> Outbox:
        from worker.db.outbox import Outbox

        return Outbox(self.engine)

    @cached_property
    def endpoints(self) -> list[Endpoint]:
        """Where webhooks go.

        Raises:
            SettingsError: a URL can't be used.
        """
        # It brings the HTTP client, which few commands have a use for.
        from worker.notifications.webhook_client import read_endpoints

        return read_endpoints(self.settings.webhook_urls, self.settings.allow_http_hosts)

    @cached_property
    def pauses(self) -> Pauses:
        from worker.db.planning.pauses import Pauses

        return Pauses(self.engine)

    @cached_property
    def clients(self) -> Clients:
        from worker.db.accounts.clients import Clients

        return Clients(self.engine)

    @cached_property
    def audit(self) -> AuditTrail:
        from worker.db.records.audit import AuditTrail

        return AuditTrail(self.engine)

    @cached_property
    def actor(self) -> Actor:
        """Who types this command."""
        return current_actor(self.settings.actor)

    def close(self) -> None:
        """Close what was opened."""
        opened = vars(self)
        for name in ("redis", "broker"):
            if name in opened:
                opened[name].close()
        if "engine" in opened:
            self.engine.dispose()


def _connected(url: str) -> Redis:
    from worker.redis.client import connect  # late: commands that only read SQL do not load it

    return connect(url)


def current_actor(named: str | None = None) -> Actor:
    """Return who does what this process does.

    Args:
        named: who it is by the settings (REFRESHD_ACTOR), for automations whose user tells nothing.
    """
    from models.act import Actor

    host = socket.gethostname()
    if named:
        return Actor(named, host)
    user, behind = _user(), os.environ.get("SUDO_USER")
    return Actor(f"{behind} (sudo, {user})" if behind and behind != user else user, host)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user has a number and no name
        return f"uid {os.getuid()}"
