"""Settings of Connect's pages: `REFRESHD_CONNECT_*`."""

from __future__ import annotations

import re
from typing import Any, Final

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from worker.settings.loading import load

_PREFIX: Final = "REFRESHD_CONNECT_"
_COLOUR: Final = re.compile(r"#[0-9a-fA-F]{6}")
_NAME_MAX: Final = 60


class ConnectSettings(BaseSettings):
    """How Connect's pages look to a customer."""

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX, env_file=".env", extra="ignore", frozen=True, hide_input_in_errors=True
    )

    name: str | None = Field(
        None,
        max_length=_NAME_MAX,
        description="who asks, as customers know you; default: the host of `return_url`",
    )
    colour: str = Field("#1f5fbf", description="colour of the button, #rrggbb")
    return_urls: str = Field(
        "",
        description="where sessions of every client may send a browser back to, beside the client's own; commas between",
    )

    @field_validator("name", mode="before")
    @classmethod
    def _empty_is_unset(cls, value: object) -> object:
        return value.strip() or None if isinstance(value, str) else value

    @field_validator("colour")
    @classmethod
    def _is_a_colour(cls, value: str) -> str:
        if not _COLOUR.fullmatch(value):
            raise ValueError("not a colour")
        return value.lower()


def load_connect_settings(**overrides: Any) -> ConnectSettings:
    """Read the settings of Connect's pages.

    Raises:
        SettingsError: names each wrong variable and what would be right.
    """
    return load(ConnectSettings, **overrides)
