"""The resolved input of one refresh, for the provider or the callback."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from msgspec import Struct, field
from msgspec.structs import replace

from models.account_state import RefreshMethod
from models.providers import Provider
from models.token import Secret

#: Fields that a template's `account.` names beside custom fields.
OWN_FIELDS: Final = frozenset(
    {"id", "client_id", "client_secret", "access_token", "refresh_token", "token_url", "server_url", "scope"}
)


class SharedClient(Protocol):
    """What of a client decides about requests that are made with it: a row of the table `client`."""

    name: str
    client_id: str | None
    client_auth: str | None
    issuer: str | None

    @property
    def token_urls(self) -> Sequence[str]:
        """Return the token URLs that the client names."""


class RefreshRequest(Struct, frozen=True, kw_only=True):
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
    #: The shared client whose id and secret these are; None: they are the account's own.
    shared_client: SharedClient | None = None

    def of_client(self, client: SharedClient, client_secret: Secret | None) -> RefreshRequest:
        """Return this request as it is made with a shared client: its secret goes to no host that the account alone names."""
        return replace(
            self,
            provider=self.provider.for_client(client.token_urls, client.issuer),
            client_id=client.client_id,
            client_secret=client_secret,
            client_auth=client.client_auth,
            shared_client=client,
        )

    def at(self, provider: Provider) -> RefreshRequest:
        """Return this request as another description of its provider has it."""
        client = self.shared_client
        if client is not None:
            provider = provider.for_client(client.token_urls, client.issuer)
        return replace(self, provider=provider)

    def variable(self, name: str) -> str | None:
        """Return the value of a template's `account.` or `custom.` variable, None where there is none."""
        space, _, field_name = name.partition(".")
        if space == "account" and field_name in OWN_FIELDS:
            value = self.account_id if field_name == "id" else getattr(self, field_name)
            return value.reveal() if isinstance(value, Secret) else value
        custom = self.custom_fields.get(field_name)
        return None if custom is None else custom.reveal()
