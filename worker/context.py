"""What every command and worker stands on: settings, keys, database, providers. Opened when first used."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pydantic import ValidationError
from redis import Redis
from sqlalchemy import Engine

from models.account import Account
from models.audit import Actor
from models.providers import Provider
from models.providers.presets import PresetError, load_providers
from models.rate_limit import Limits
from refreshd_reader.contract import Keys
from worker.actor import current_actor
from worker.clock import Clock
from worker.crypto.cipher import Cipher, generate_key, parse_keys
from worker.crypto.keyring import keys_text, source_of
from worker.crypto.private_file import data_folder, write_private
from worker.crypto.sealer import Vault
from worker.db.audit import AuditTrail
from worker.db.engine import check_schema, database_now, make_engine, reading
from worker.db.history import History
from worker.db.outbox import Outbox
from worker.db.pauses import Pauses
from worker.db.schedule import Schedule
from worker.errors import KnobsUnfit, SettingsError
from worker.log import log
from worker.policy.rate_limits import limits
from worker.redis.client import connect
from worker.settings import Settings

if TYPE_CHECKING:
    from worker.notifications.webhook_client import Endpoint

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

        Raises:
            KnobsUnfit: the provider is described otherwise than when they were stored.
        """
        provider = self.known.get(account.provider)
        if provider is None:
            if account.token_url is None and account.callback is None:
                return None
            provider = self.known[GENERIC]
        try:
            return provider.for_account(json.loads(account.knobs))
        except ValidationError as error:
            problems = error.errors(include_input=False, include_url=False)
            raise KnobsUnfit(account.id, provider, problems) from None

    def for_schedule(self, account: Account) -> Provider | None:
        """Give what an account's due times go by: its provider, without the account's knobs where they do not fit."""
        try:
            return self.of(account)
        except KnobsUnfit as error:
            return error.provider


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
        try:
            check_schema(engine)
            with reading(engine) as connection:
                self.clock.set(database_now(connection))
        except BaseException:
            engine.dispose()
            raise
        return engine

    @cached_property
    def cipher(self) -> Cipher:
        return load_cipher(self.settings)

    @property
    def has_keys(self) -> bool:
        """Whether anything can be opened here. Whoever only looks at PostgreSQL needs no key."""
        on_sqlite = self.settings.database.startswith("sqlite")
        return on_sqlite or source_of(self.settings) is not None or self.settings.made_keys_file.exists()

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

    def pace(self, name: str) -> Limits:
        """Return what a plan goes by for all accounts of a provider.

        A provider without one host (a host for each tenant, or a name that no preset describes) has no common rate: its
        rate is a host's, and the budget of each host paces its calls.
        """
        provider = self.providers.known.get(name)
        found = self.limits(provider)
        return replace(found, requests_per_s=None) if provider is None or provider.host is None else found

    @cached_property
    def redis(self) -> Redis:
        return connect(self.settings.redis)

    @cached_property
    def history(self) -> History:
        return History(self.engine)

    @cached_property
    def schedule(self) -> Schedule:
        return Schedule(self.engine)

    @cached_property
    def outbox(self) -> Outbox:
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
        return Pauses(self.engine)

    @cached_property
    def audit(self) -> AuditTrail:
        return AuditTrail(self.engine)

    @cached_property
    def actor(self) -> Actor:
        """Who types this command."""
        return current_actor(self.settings.actor)

    def close(self) -> None:
        """Close what was opened."""
        opened = vars(self)
        if "redis" in opened:
            self.redis.close()
        if "engine" in opened:
            self.engine.dispose()


def load_cipher(settings: Settings) -> Cipher:
    """Give the keys: those of the settings, else the data folder's; made there for a SQLite that has none.

    Raises:
        SettingsError: there is no key, or one that can't be read.
    """
    text = keys_text(settings)
    if text is not None:
        return Cipher(parse_keys(text, source_of(settings) or ""))
    with suppress(FileNotFoundError):
        return Cipher(
            parse_keys(settings.made_keys_file.read_text(encoding="utf-8"), str(settings.made_keys_file))
        )
    if not settings.database.startswith("sqlite"):
        raise SettingsError(
            "REFRESHD_KEYS is not set: secrets are not stored unsealed. Make a key with `refreshd keys generate`, "
            "set it for every worker and command (or REFRESHD_KEYS_FILE, REFRESHD_KEYS_COMMAND), and keep a copy: "
            "without it every grant is lost"
        )
    log.warning(
        "key_made", file=str(make_key(settings)), remedy="keep a copy: without it every grant is lost"
    )
    return load_cipher(settings)


def make_key(settings: Settings) -> Path:
    """Make a key in the data folder, readable by its owner alone. One that is there stays."""
    data_folder(settings)
    if not settings.made_keys_file.exists():
        draft = settings.made_keys_file.with_suffix(f".{os.getpid()}")
        write_private(draft, generate_key() + "\n")
        # Whole or not there, and the first one wins: two processes that start together use the same key.
        with suppress(FileExistsError):
            os.link(draft, settings.made_keys_file)
        draft.unlink()
    return settings.made_keys_file
