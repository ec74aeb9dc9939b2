"""Providers quote what they were sent: no error keeps a credential."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cached_property
from typing import Final

from models.refresh_request import RefreshRequest
from models.token import Secret
from worker.redaction.encodings import longest_first, masked

_MASK: Final = "[redacted]"

#: Deeper nesting is no error message.
_DEEPEST: Final = 8
_HEX: Final = re.compile(r"[0-9a-f-]{1,100}")
#: As much of an answer that nothing can read as its attempt keeps.
_BEGINNING_MAX: Final = 1024
#: Refusals in plain text are a line; what is longer is a page or a dump.
_PLAIN_MAX: Final = 300
#: What stands behind such a name is a credential. The name's beginning stays anyway: to match it would cost a try at each letter.
_NAMED: Final = re.compile(
    r"""((?:token|secret|password|assertion|cookie|authorization|key|code|session)[a-z0-9_-]{0,40}"""
    r"""\s{0,9}["']?\s{0,9}[:=]\s{0,9})(?:"[^"]*(?:"|\Z)|'[^']*(?:'|\Z)|[^\s&"',}]+)""",
    re.IGNORECASE,
)
#: Longer than words are, and with a digit in it: a token, whatever stands before it. Letters are ASCII in both places: a
#: look ahead that goes further than the match would be repeated at each letter of a mebibyte.
_RUN: Final = re.compile(r"(?=[A-Za-z]*+[\d_./+=~-])[A-Za-z0-9_./+=~-]{20,}|[A-Za-z]{40,}")
_SHOWN: Final = re.compile(r"[^\x20-\x7e\n]")
_TOKEN_FIELDS: Final = frozenset({"access_token", "refresh_token", "id_token", "client_secret"})


class Redaction:
    """The texts of one request that must not come back out of its answer, in whatever spelling."""

    def __init__(self, request: RefreshRequest, issued: tuple[Secret | None, ...]) -> None:
        self._request = request
        self._issued = issued

    @classmethod
    def of(cls, request: RefreshRequest, *issued: Secret | None) -> Redaction:
        """Return the redaction for one request; `issued` are the tokens that its answer brought."""
        return cls(request, issued)

    @cached_property
    def _forms(self) -> list[str]:
        """Return what to look for; worked out where there is a text to look through, and most answers have none."""
        return longest_first(self._secrets)

    @cached_property
    def _secrets(self) -> set[str]:
        request = self._request
        candidates: list[Secret | None] = [
            request.access_token,
            request.refresh_token,
            request.client_secret,
            *request.custom_fields.values(),
            *self._issued,
        ]
        return {secret.reveal() for secret in candidates if secret}

    def identifier(self, text: str) -> str:
        """Return an identifier, masked. Nearly all are plain hex, in which a secret could only stand as it is."""
        if _HEX.fullmatch(text) and not any(secret in text for secret in self._secrets):
            return text
        return self.text(text)

    def text(self, words: str) -> str:
        return masked(words, self._forms)

    def fields(self, fields: Mapping[str, object]) -> dict[str, object]:
        """Return the fields without tokens, and without this request's secrets in any text."""
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
            return [self._value(item, depth + 1) for item in value]
        return value


def beginning(raw: bytes, request: RefreshRequest) -> str:
    """Return how an unreadable answer begins, for a person: no secret of the request in it, nor what may be a new one.

    Redacted before it is cut: half a secret would not be found.
    """
    return _quoted(raw.decode("latin-1"), request, _BEGINNING_MAX)


def plain_words(text: str, request: RefreshRequest) -> str:
    """Return how a refusal in plain text begins, redacted alike: it may quote a credential under any name, or a new one."""
    return _quoted(text, request, _PLAIN_MAX).replace("\n", " ").strip()


def _quoted(text: str, request: RefreshRequest, longest: int) -> str:
    text = _NAMED.sub(rf"\1{_MASK}", Redaction.of(request).text(text))
    text = _RUN.sub(_MASK, text)[:longest]
    return _SHOWN.sub("\ufffd", text.replace("\r\n", "\n"))
