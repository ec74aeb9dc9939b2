"""Settings from the environment and `.env`: one model, every amount with its unit, every error with its remedy."""

from __future__ import annotations

import base64
from collections.abc import Callable
from functools import cached_property
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Final, Self

from pydantic import Field, SecretStr, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from refreshd_reader.sealing import TokenSeal
from worker.errors import SettingsError
from worker.settings.examples import EXAMPLES
from worker.settings.loading import load
from worker.settings.redis_url import NO_BROKER, check_broker_url, check_redis_url, is_cluster_url

#: The claim outlives the whole call by this much, so that no second call starts while the first may still be
#: on the wire (DESIGN section 3: longer than the deadline "by 10 s and more").
CLAIM_BEYOND_CALL_S: Final = 15
MIN_CLAIM_BEYOND_CALL_S: Final = 10
#: Standard Webhooks: a key of 24 to 64 bytes.
WEBHOOK_KEY_MIN_BYTES: Final = 24
#: Further ahead, an announcement is no news.
EXPIRING_DAYS_MAX: Final = 366

_PREFIX: Final = "REFRESHD_"
#: Types of events that webhooks may be told of.
WEBHOOK_TYPES: Final = (
    "reauthorize", "misconfigured", "recovered", "degraded", "expiring", "connected", "reconnected",
)  # fmt: skip


class Settings(BaseSettings):
    """All settings. Field `call_timeout_s` is the variable `REFRESHD_CALL_TIMEOUT_S`, and so on."""

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX, env_file=".env", extra="ignore", frozen=True, hide_input_in_errors=True
    )

    database_url: SecretStr | None = Field(None, description="default: refreshd.db in the data folder")
    database_password_command: SecretStr | None = Field(
        None, description="command that prints PostgreSQL's password, run for new connections; no shell"
    )
    redis_url: SecretStr | None = Field(None, description="default: the embedded server")
    broker_url: SecretStr | None = Field(
        None,
        description="Redis of the task queues, where it is not the one of the tokens; default: REFRESHD_REDIS_URL",
    )
    data_dir: Path = Field(Path(".refreshd"), description="database, embedded Redis, keys and logs")
    redis_prefix: str = Field("refreshd:", min_length=1, description="of every key that refreshd writes")
    keys: SecretStr | None = Field(None, description="ID:BASE64, comma separated; the first one writes")
    keys_file: Path | None = Field(
        None, description="file with what REFRESHD_KEYS would hold, readable by its owner (and group) alone"
    )
    keys_command: SecretStr | None = Field(
        None, description="command that prints what REFRESHD_KEYS would hold; run without a shell"
    )
    intake_key: SecretStr | None = Field(
        None,
        description="ID:BASE64, public (`refreshd keys intake`): seals what a process without REFRESHD_KEYS takes in",
    )
    publish_keys: SecretStr | None = Field(
        None,
        description="ID:BASE64, comma separated; seals access tokens in Redis for readers that have the same keys",
    )
    message_keys: SecretStr | None = Field(
        None,
        description="ID:BASE64, comma separated; the first one signs task messages, and workers refuse unsigned ones",
    )
    plan_interval_s: float = Field(1, ge=0.1, le=3600, description="seconds between two plans")
    call_timeout_s: float = Field(30, gt=0, le=600, description="seconds for one whole call to a provider")
    claim_s: float | None = Field(None, description="seconds that an open attempt holds its account")
    group_size: int = Field(
        50,
        ge=1,
        le=1000,
        description="accounts in one message; up to four times as many where many are due at once",
    )
    queue_limit: int = Field(
        200, ge=1, description="messages that wait in `refresh` at most; ten seconds of work, if that is less"
    )
    backoff_max_s: float = Field(3600, gt=0, description="longest pause after failures, seconds")
    requests_per_s: float | None = Field(
        None, gt=0, description="to one provider whose data names no rate; unset: no limit"
    )
    max_in_flight: int = Field(1000, ge=1, description="calls to one provider whose data names no number")
    history_days: float = Field(30, gt=0, description="days that an attempt is kept")
    history_per_account: int = Field(200, ge=1, description="attempts kept of one account")
    audit_days: float = Field(
        730, gt=0, description="days that an entry of the audit trail is kept (`refreshd audit`)"
    )
    actor: str | None = Field(
        None, description="who the audit trail names instead of the user of the operating system"
    )
    ca_file: Path | None = Field(
        None, description="PEM file of the authorities that token URLs are checked by"
    )
    allow_http_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="hosts whose token URL may be http, comma separated"
    )
    block_private_networks: bool = Field(
        False, description="true: refuse URLs that lead to a private, loopback or link-local address"
    )
    allow_private_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="hosts whose address may be private all the same, comma separated"
    )
    callback_modules: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Python modules with refresh callbacks, comma separated"
    )
    callbacks_file: Path | None = Field(
        None, description="YAML of callbacks that are HTTP endpoints or Celery tasks"
    )
    callback_memory_mb: int = Field(
        512, ge=64, description="address space of a Python callback that names none, mebibytes"
    )
    providers_file: Path | None = Field(None, description="YAML of your own providers")
    webhook_url: SecretStr | None = Field(None, description="where webhooks go, comma separated")
    webhook_secret: SecretStr | None = Field(
        None, description="whsec_BASE64 that webhooks are signed with, comma separated: each one signs"
    )
    webhook_types: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="events that webhooks are told of, comma separated: " + ", ".join(WEBHOOK_TYPES)
    )
    expiring_days: str = Field(
        "14,3,1", description="days before a refresh token's end on which it is announced, comma separated"
    )
    flower_port: int = Field(5555, ge=1, le=65535, description="TCP port of Flower")
    flower_address: str = Field("127.0.0.1", min_length=1, description="address that Flower listens on")
    flower_basic_auth: SecretStr | None = Field(None, description="user:password of Flower")
    metrics_port: int | None = Field(
        None, ge=1, le=65535, description="TCP port of a worker's Prometheus metrics; unset: it serves none"
    )
    metrics_address: str = Field(
        "127.0.0.1", description="address that metrics are served at; 0.0.0.0 or :: for all interfaces"
    )
    exporter_port: int = Field(9750, ge=1, le=65535, description="TCP port of `refreshd exporter`")
    traces: bool = Field(
        False, description="workers send traces (OpenTelemetry, the extra `otel`) to where OTEL_* says"
    )
    traces_in_events: bool = Field(
        False, description="entries of the event stream carry their trace's `traceparent`"
    )

    @field_validator(
        "allow_http_hosts", "allow_private_hosts", "callback_modules", "webhook_types", mode="before"
    )
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return _parts(value)
        return value

    @field_validator(
        "database_url",
        "database_password_command",
        "redis_url",
        "broker_url",
        "keys",
        "keys_file",
        "keys_command",
        "intake_key",
        "publish_keys",
        "message_keys",
        "claim_s",
        "requests_per_s",
        "actor",
        "ca_file",
        "callbacks_file",
        "providers_file",
        "webhook_url",
        "webhook_secret",
        "flower_basic_auth",
        "metrics_port",
        mode="before",
    )
    @classmethod
    def _empty_is_unset(cls, value: object) -> object:
        return None if value == "" else value

    @field_validator("flower_basic_auth")
    @classmethod
    def _user_and_password(cls, value: SecretStr | None) -> SecretStr | None:
        # Flower splits at commas: the rest of a password behind one would be a login of its own.
        if value is not None and not all(
            login.isascii() and all(login.partition(":")) for login in value.get_secret_value().split(",")
        ):
            raise ValueError("is not user:password in ASCII")
        return value

    @field_validator("metrics_address")
    @classmethod
    def _is_an_address(cls, value: str) -> str:
        return str(ip_address(value))

    @field_validator("publish_keys", "redis_url", "broker_url")
    @classmethod
    def _can_be_read(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        readers: dict[str | None, Callable[[str], object]] = {
            "publish_keys": TokenSeal.of,
            "redis_url": check_redis_url,
            "broker_url": check_broker_url,
        }
        if value is not None:
            readers[info.field_name](value.get_secret_value())
        return value

    @model_validator(mode="after")
    def _messages_have_a_place(self) -> Self:
        if self.broker_url is None and self.redis_url and is_cluster_url(self.redis_url.get_secret_value()):
            raise ValueError(f"{_PREFIX}REDIS_URL: {NO_BROKER}")
        return self

    @field_validator("webhook_types")
    @classmethod
    def _known_types(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for one in value:
            if one not in WEBHOOK_TYPES:
                raise ValueError(f"{one!r} is none of {', '.join(WEBHOOK_TYPES)}")
        return value

    @field_validator("webhook_secret")
    @classmethod
    def _signs(cls, value: SecretStr | None) -> SecretStr | None:
        for one in _parts(value.get_secret_value()) if value is not None else ():
            try:
                key = base64.b64decode(one.removeprefix("whsec_"), validate=True)
            except ValueError:
                raise ValueError("is no base64") from None
            if len(key) < WEBHOOK_KEY_MIN_BYTES:
                raise ValueError(f"is shorter than {WEBHOOK_KEY_MIN_BYTES} bytes")
        return value

    @field_validator("expiring_days")
    @classmethod
    def _days(cls, value: str) -> str:
        try:
            right = all(0 < float(part) <= EXPIRING_DAYS_MAX for part in _parts(value))
        except ValueError:
            right = False
        if not right:
            raise ValueError(f"wants numbers of days, up to {EXPIRING_DAYS_MAX}")
        return value

    @model_validator(mode="after")
    def _webhooks_are_signed(self) -> Self:
        if self.webhook_url is not None and self.webhook_secret is None:
            raise ValueError(
                f"{_PREFIX}WEBHOOK_URL is set and {_PREFIX}WEBHOOK_SECRET is not: webhooks are signed; "
                "`refreshd webhooks secret` makes one"
            )
        return self

    @model_validator(mode="after")
    def _keys_have_one_source(self) -> Self:
        sources = {"KEYS": self.keys, "KEYS_FILE": self.keys_file, "KEYS_COMMAND": self.keys_command}
        given = [f"{_PREFIX}{name}" for name, value in sources.items() if value is not None]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} are set: keys come from one of them, unset the others")
        return self

    @model_validator(mode="after")
    def _claim_outlives_call(self) -> Self:
        if self.claim_s is not None and self.claim_s < self.call_timeout_s + MIN_CLAIM_BEYOND_CALL_S:
            raise ValueError(
                f"{_PREFIX}CLAIM_S={self.claim_s:g} is too short: it must exceed {_PREFIX}CALL_TIMEOUT_S="
                f"{self.call_timeout_s:g} by {MIN_CLAIM_BEYOND_CALL_S} or more, or two workers could call at once; "
                "leave it unset to have it derived"
            )
        return self

    @property
    def claim_seconds(self) -> float:
        """How long an open attempt (and the lease beside it) holds an account."""
        return self.claim_s if self.claim_s is not None else self.call_timeout_s + CLAIM_BEYOND_CALL_S

    @property
    def webhook_urls(self) -> tuple[str, ...]:
        return () if self.webhook_url is None else _parts(self.webhook_url.get_secret_value())

    @property
    def webhook_secrets(self) -> tuple[str, ...]:
        return () if self.webhook_secret is None else _parts(self.webhook_secret.get_secret_value())

    @property
    def webhook_event_types(self) -> frozenset[str]:
        """The types of events that a webhook wants; none where there is no webhook."""
        return frozenset(self.webhook_types or WEBHOOK_TYPES) if self.webhook_urls else frozenset()

    @property
    def expiring_thresholds_days(self) -> tuple[float, ...]:
        """Days before a refresh token's end, smallest first."""
        return tuple(sorted(float(part) for part in _parts(self.expiring_days)))

    @property
    def database(self) -> str:
        """The database's URL; SQLite in the data folder where none is set."""
        if self.database_url is not None:
            return self.database_url.get_secret_value()
        return f"sqlite:///{(self.data_dir / 'refreshd.db').absolute()}"

    @property
    def redis_url_file(self) -> Path:
        """Where the embedded server's address is written for those who come later."""
        return self.data_dir / "redis.url"

    @property
    def made_keys_file(self) -> Path:
        """Where `up` and `demo` keep the keys that they made."""
        return self.data_dir / "keys"

    @cached_property
    def token_seal(self) -> TokenSeal | None:
        """What published access tokens are sealed with; None: they stand in Redis in clear."""
        return None if self.publish_keys is None else TokenSeal.of(self.publish_keys.get_secret_value())

    @property
    def redis(self) -> str:
        """The Redis' URL: the one set, else the embedded server's.

        Raises:
            SettingsError: none is set and no embedded server runs from this data folder.
        """
        return self._redis.get_secret_value()

    @property
    def broker(self) -> str:
        """The URL of the Redis that carries task messages: the one set, else that of the tokens.

        Raises:
            SettingsError: as `redis`.
        """
        return self.redis if self.broker_url is None else self.broker_url.get_secret_value()

    @cached_property
    def _redis(self) -> SecretStr:
        """It is read once: who has these settings stays with one Redis. Wrapped, for `vars` shows what is kept."""
        if self.redis_url is not None:
            return self.redis_url
        try:
            return SecretStr(self.redis_url_file.read_text(encoding="utf-8").strip())
        except OSError:
            raise SettingsError(
                f"no Redis: {_PREFIX}REDIS_URL is not set, and no embedded server runs from "
                f"{self.data_dir.absolute()}. Set it, or start everything with `refreshd up`"
            ) from None


def load_settings(**overrides: Any) -> Settings:
    """Read the settings.

    Raises:
        SettingsError: names each wrong variable and what would be right. It never shows the value of one
            that could be secret.
    """
    return load(Settings, EXAMPLES, **overrides)


def _parts(value: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in value.split(",") if part.strip())
