"""The resolved input of one refresh, for the provider or the callback."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from models.account_state import RefreshMethod
from models.providers import Provider
from models.token import Secret

#: Fields that a template's `account.` names beside custom fields.
OWN_FIELDS: Final = frozenset(
    {"id", "client_id", "client_secret", "access_token", "refresh_token", "token_url", "server_url", "scope"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RefreshRequest:
    """One account's credentials and its provider. `client_auth` and `token_url` are the account's own, or None."""

    account_id: str
    provider: Provider
    refresh_method: RefreshMethod = RefreshMethod.BODY
    #: The name of its callback.
    callback: str | None = None
    client_id: str | None = None
    client_secret: Secret | None = None
    client_auth: str | None = None
    access_token: Secret | None = None
    refresh_token: Secret | None = None
    token_url: str | None = None
    server_url: str | None = None
    scope: str | None = None
    custom_fields: Mapping[str, Secret] = field(default_factory=dict)

    def variable(self, name: str) -> str | None:
        """Return the value of a template's `account.` or `custom.` variable, None where there is none."""
        space, _, field_name = name.partition(".")
        if space == "account" and field_name in OWN_FIELDS:
            value = self.account_id if field_name == "id" else getattr(self, field_name)
            return value.reveal() if isinstance(value, Secret) else value
        custom = self.custom_fields.get(field_name)
        return None if custom is None else custom.reveal()
