"""Providers quote what they were sent: no error keeps a credential, whoever wrote it there."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Final

from models.refresh_request import RefreshRequest
from models.token import Secret
from worker.io.spellings import longest_first, masked

#: Deeper nesting is no error message.
_DEEPEST: Final = 8
_TOKEN_FIELDS: Final = frozenset({"access_token", "refresh_token", "id_token", "client_secret"})


class Redaction:
    """The texts of one request that must not come back out of its answer, in whatever spelling."""

    def __init__(self, request: RefreshRequest) -> None:
        self._request = request

    @classmethod
    def of(cls, request: RefreshRequest) -> Redaction:
        return cls(request)

    @cached_property
    def _forms(self) -> list[str]:
        """What to look for; worked out where there is a text to look through, and most answers have none."""
        request = self._request
        candidates: list[Secret | None] = [
            request.access_token,
            request.refresh_token,
            request.client_secret,
            *request.custom_fields.values(),
        ]
        return longest_first({secret.reveal() for secret in candidates if secret})

    def text(self, words: str) -> str:
        return masked(words, self._forms)

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
