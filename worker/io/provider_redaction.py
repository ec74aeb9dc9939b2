"""Providers quote what they were sent: no error keeps a credential, whoever wrote it there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from models.refresh_request import RefreshRequest
from models.token import Secret

_MASK: Final = "[redacted]"
#: Shorter values are words ("eu", "true"): masking them would garble a message and hide nothing.
_SHORTEST: Final = 5
#: Deeper nesting is no error message.
_DEEPEST: Final = 8
_TOKEN_FIELDS: Final = frozenset({"access_token", "refresh_token", "id_token", "client_secret"})


@dataclass(frozen=True, slots=True)
class Redaction:
    """The texts of one request that must not come back out of its answer."""

    secrets: tuple[str, ...]

    @classmethod
    def of(cls, request: RefreshRequest) -> Redaction:
        candidates: list[Secret | None] = [
            request.access_token,
            request.refresh_token,
            request.client_secret,
            *request.custom_fields.values(),
        ]
        texts = {secret.reveal() for secret in candidates if secret}
        return cls(tuple(sorted((text for text in texts if len(text) >= _SHORTEST), key=len, reverse=True)))

    def text(self, words: str) -> str:
        for secret in self.secrets:
            words = words.replace(secret, _MASK)
        return words

    def fields(self, fields: Mapping[str, object]) -> dict[str, object]:
        """Give the fields without tokens, and without this request's secrets in any text."""
        return dict(self._members(fields, 0))

    def _members(self, fields: Mapping[str, object], depth: int) -> list[tuple[str, object]]:
        return [
            (name, self._value(value, depth + 1))
            for name, value in fields.items()
            if name not in _TOKEN_FIELDS
        ]

    def _value(self, value: object, depth: int) -> object:
        if depth > _DEEPEST:
            return None
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return dict(self._members(value, depth))
        if isinstance(value, list):
            return [self._value(item, depth) for item in value]
        return value
