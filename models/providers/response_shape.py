"""Where in a provider's response the tokens and errors stand."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict

from models.providers.json_path import lookup_path

#: The path of a response that is nothing but the token.
WHOLE_BODY: Final = ""


def _several(value: object) -> object:
    return (value,) if isinstance(value, str) else value


#: One path or several, the first one that holds something counts.
Paths = Annotated[tuple[str, ...], BeforeValidator(_several, json_schema_input_type=str | list[str])]


class LifetimeUnit(StrEnum):
    SECONDS = "s"
    MILLISECONDS = "ms"


class ResponseShape(BaseModel):
    """Paths into the response. The defaults are RFC 6749 section 5's names and their most frequent kin."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    access_token: Paths = ("access_token",)
    refresh_token: Paths = ("refresh_token",)
    token_type: Paths = ("token_type",)
    scope: Paths = ("scope",)
    expires_in: Paths = ("expires_in",)
    expires_in_unit: LifetimeUnit = LifetimeUnit.SECONDS
    #: A point in time: ISO 8601, epoch seconds or epoch milliseconds; read where `expires_in` says nothing.
    expires_at: Paths = ("expires_at",)
    refresh_token_expires_in: Paths = (
        "refresh_token_expires_in",
        "refresh_expires_in",
        "x_refresh_token_expires_in",
    )
    refresh_token_expires_at: Paths = ("refresh_token_expires_at",)
    error: Paths = ("error", "error.code", "error.type", "errors.0.errorType", "errors.0.code")
    error_description: Paths = ("error_description", "error.message", "errors.0.message", "message")
    error_uri: Paths = ("error_uri",)

    @property
    def whole_body_is_the_token(self) -> bool:
        return WHOLE_BODY in self.access_token


def first_value(body: Mapping[str, object], paths: Paths) -> object:
    """Return the value at the first path that holds one that is neither nothing nor a container."""
    for path in paths:
        found = body.get(path)
        if found is None:
            if "." not in path:
                continue
            found = lookup_path(body, path)
        if found is not None and found != "" and not isinstance(found, dict):
            return found
    return None
