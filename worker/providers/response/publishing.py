"""What of an answer is published beside the token: the fields that `publish_fields` names, and no secret among them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from models.providers.json_path import lookup_path
from models.providers.limits import names_a_secret
from models.refresh_request import RefreshRequest
from models.token import Secret
from worker.redaction.log import is_secret

#: Deeper nesting is left out.
_DEEPEST: Final = 8
#: A shorter secret is a word, which many texts hold.
_SHORTEST: Final = 5


class Publishable:
    """Leaves the secrets of one account out of what its provider returned for use.

    Custom fields are sealed, all of them; those named as a secret is are secrets. A host name among them is none.
    """

    def __init__(self, request: RefreshRequest, *issued: Secret | None) -> None:
        found: list[Secret | None] = [
            *issued,
            request.access_token,
            request.refresh_token,
            request.client_secret,
            *(value for name, value in request.custom_fields.items() if is_secret(name)),
        ]
        texts = (secret.reveal() for secret in found if secret is not None)
        self._secrets = [text for text in texts if len(text) >= _SHORTEST]

    def fields(self, fields: Mapping[str, object], names: Mapping[str, str]) -> dict[str, object]:
        """Return name -> value of what may be published."""
        found = {
            name: self._open(lookup_path(fields, path))
            for name, path in names.items()
            if not names_a_secret(path)
        }
        return {name: value for name, value in found.items() if value is not None}

    def text(self, value: str | None) -> str | None:
        """Return a text that holds no secret, None where it holds one."""
        return value if value is not None and self._holds_none(value) else None

    def _holds_none(self, text: str) -> bool:
        return not any(secret in text for secret in self._secrets)

    def _open(self, value: object, depth: int = 0) -> object:
        if depth > _DEEPEST:
            return None
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            members = (
                (name, self._open(one, depth + 1)) for name, one in value.items() if not names_a_secret(name)
            )
            return {name: one for name, one in members if one is not None}
        if isinstance(value, list):
            return [one for one in (self._open(item, depth + 1) for item in value) if one is not None]
        return (
            self.text(str(value)) and value
            if isinstance(value, int) and not isinstance(value, bool)
            else value
        )
