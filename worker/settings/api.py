"""Settings of the API process: `REFRESHD_API_*`."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any, Final
from urllib.parse import urlsplit

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from worker.settings.loading import load

_PREFIX: Final = "REFRESHD_API_"
#: A request of one account is some kilobytes; the largest field, a token, has a few.
BODY_BYTES: Final = 1024 * 1024
#: 100,000 rows of a kilobyte, twice.
BATCH_BYTES: Final = 256 * 1024 * 1024


class ApiSettings(BaseSettings):
    """Settings of the API process. Field `port` is the variable `REFRESHD_API_PORT`, and so on."""

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX, env_file=".env", extra="ignore", frozen=True, hide_input_in_errors=True
    )

    host: str = Field("127.0.0.1", min_length=1, description="address that the API listens on")
    port: int = Field(8321, ge=1, le=65535, description="TCP port of the API")
    url: str | None = Field(None, description="public base URL of the API: https://host[/path]")
    tokens: bool = Field(False, description="true: keys of the scope tokens:read may read access tokens")
    sealed_tokens: bool = Field(
        False,
        description="true: workers have REFRESHD_PUBLISH_KEYS, so they publish what this process is given",
    )
    webhooks: bool = Field(
        False, description="true: workers have REFRESHD_WEBHOOK_URL, so they are told of what is stored here"
    )
    requests_per_s: float = Field(
        1000, gt=0, le=1_000_000, description="requests a second of one key, to one API process"
    )
    pages_per_s: float = Field(
        5,
        gt=0,
        le=1_000_000,
        description="Connect's pages a second for one network address, from one API process",
    )
    trusted_proxies: str | None = Field(
        None,
        description="addresses or networks, with commas between, of proxies whose X-Forwarded-For is believed",
    )
    worker_wait_s: float = Field(
        15, gt=0, le=600, description="seconds that a request waits for a worker's answer"
    )
    body_timeout_s: float = Field(
        20, gt=0, le=600, description="seconds without a byte after which a request's body is given up"
    )
    event_clients: int = Field(1000, ge=1, description="clients of /v1/events at a time, of one API process")

    @field_validator("url", "trusted_proxies", mode="before")
    @classmethod
    def _empty_is_unset(cls, value: object) -> object:
        return None if value == "" else value

    @field_validator("url")
    @classmethod
    def _is_a_base_url(cls, value: str | None) -> str | None:
        if value is None:
            return None
        parts = urlsplit(value)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
            raise ValueError("not a base URL")
        if parts.username or parts.password:
            raise ValueError("holds a user or password")
        return value.rstrip("/")

    @field_validator("trusted_proxies")
    @classmethod
    def _are_networks(cls, value: str | None) -> str | None:
        for one in value.split(",") if value is not None else ():
            ip_network(one.strip())
        return value

    @property
    def base_url(self) -> str:
        """Return the public base URL; without one, where the API listens."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return self.url or f"http://{host}:{self.port}"


def load_api_settings(**overrides: Any) -> ApiSettings:
    """Read the settings of the API process.

    Raises:
        SettingsError: names each wrong variable and what would be right.
    """
    return load(ApiSettings, **overrides)
