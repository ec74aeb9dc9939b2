"""Tokens: the response of a provider, the stored token set, and a string that is never shown."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from typing import Any, Final, NoReturn

from msgspec import Struct, field
from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

_MASK: Final = "**********"


class Secret:
    """A string that repr, str, format, JSON, pickle and pydantic dumps never show.

    `reveal()` gives the text, and is the only way to it: a search for it finds each place that sees one.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        return self._text

    def fingerprint(self) -> str:
        """Return 16 hex digits that tell two secrets apart and lead back to neither."""
        return hashlib.sha256(
            b"refreshd fingerprint\0" + self._text.encode(errors="surrogatepass")
        ).hexdigest()[:16]

    def __bool__(self) -> bool:
        return bool(self._text)

    def __repr__(self) -> str:
        return f"Secret({_MASK!r})"

    def __str__(self) -> str:
        return _MASK

    def __format__(self, spec: str) -> str:
        return format(_MASK, spec)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        mine, theirs = (s.encode(errors="surrogatepass") for s in (self._text, other._text))
        return hmac.compare_digest(mine, theirs)

    def __hash__(self) -> int:
        return hash(self._text)

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a Secret is not pickled: send the account's id, and open the secret where it is used"
        )

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(
            lambda value: value if isinstance(value, cls) else cls(value),
            core_schema.union_schema([core_schema.is_instance_schema(cls), core_schema.str_schema()]),
            serialization=core_schema.plain_serializer_function_ser_schema(
                str, return_schema=core_schema.str_schema()
            ),
        )


class TokenResponse(Struct, frozen=True):
    """A provider's token response to one refresh, read and not yet judged (RFC 6749 section 5.1).

    `expires_in_s` is the lifetime in seconds that the provider returned, `expires_at` the point in time
    (epoch seconds) where it returned one instead; both None where it said nothing usable. `extra` holds
    the response fields that the provider's data says to publish.
    """

    access_token: Secret
    refresh_token: Secret | None = None
    token_type: str | None = None
    scope: str | None = None
    expires_in_s: float | None = None
    expires_at: float | None = None
    refresh_token_expires_in_s: float | None = None
    refresh_token_expires_at: float | None = None
    extra: Mapping[str, str] = field(default_factory=dict)


class TokenSet(Struct, frozen=True):
    """One generation of tokens, as stored: the response completed with what the account already had."""

    access_token: Secret
    refresh_token: Secret | None
    token_type: str
    scope: str | None
    issued_at: float | None
    expires_at: float | None
    refresh_token_expires_at: float | None = None
    extra: Mapping[str, str] = field(default_factory=dict)
