"""An account's secrets: opened for a call, sealed for the row."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Final

from models.account_state import RefreshMethod, SealedTokens, fingerprint, write_extra
from models.token import Secret, TokenSet
from worker.crypto.cipher import Cipher
from worker.crypto.intake import IntakeSealer

if TYPE_CHECKING:  # a command that shows one token needs no provider
    from models.providers import Provider
    from models.refresh_request import RefreshRequest
    from models.tables.account import Account
    from models.tables.client import Client

ACCESS_TOKEN: Final = "access_token"
REFRESH_TOKEN: Final = "refresh_token"
CLIENT_SECRET: Final = "client_secret"
CUSTOM_FIELDS: Final = "custom_fields"
#: Column -> the field that its values are bound to.
SEALED_COLUMNS: Final = {
    "client_secret_sealed": CLIENT_SECRET,
    "access_token_sealed": ACCESS_TOKEN,
    "refresh_token_sealed": REFRESH_TOKEN,
    "custom_fields_sealed": CUSTOM_FIELDS,
    "kept_sealed": "stash",
}


class TokenSealer:
    """Seals the `_sealed` columns of accounts, and opens none."""

    def __init__(self, cipher: Cipher | IntakeSealer) -> None:
        self._sealing = cipher

    def seal(self, account_id: str, field: str, secret: Secret | None) -> str | None:
        """Seal one secret; an empty one is none."""
        return self._sealing.seal(secret, account=account_id, field=field) if secret else None

    def seal_custom_fields(self, account_id: str, fields: Mapping[str, Secret]) -> str | None:
        """Seal the custom fields as a whole."""
        if not fields:
            return None
        plain = json.dumps({name: value.reveal() for name, value in sorted(fields.items())})
        return self.seal(account_id, CUSTOM_FIELDS, Secret(plain))

    def seal_pair(
        self, account_id: str, access_token: Secret | None, refresh_token: Secret | None
    ) -> tuple[str | None, str | None]:
        """Seal an access token and a refresh token."""
        return (
            self.seal(account_id, ACCESS_TOKEN, access_token),
            self.seal(account_id, REFRESH_TOKEN, refresh_token),
        )

    def seal_tokens(
        self, account_id: str, tokens: TokenSet, sealed: tuple[str | None, str | None] | None = None
    ) -> SealedTokens:
        """Return a token set as the row keeps it; `sealed`: its tokens, where `seal_pair` has sealed them before."""
        access, refresh = sealed or self.seal_pair(account_id, tokens.access_token, tokens.refresh_token)
        return SealedTokens(
            access_token_sealed=access,
            refresh_token_sealed=refresh,
            refresh_fp=fingerprint(tokens.refresh_token),
            token_type=tokens.token_type,
            scope=tokens.scope,
            issued_at=tokens.issued_at,
            expires_at=tokens.expires_at,
            refresh_token_expires_at=tokens.refresh_token_expires_at,
            extra=write_extra(tokens.extra),
        )


class AccountSealer(TokenSealer):
    """Opens and seals the `_sealed` columns of accounts."""

    def __init__(self, cipher: Cipher) -> None:
        super().__init__(cipher)
        self._cipher = cipher

    def request(
        self,
        account: Account,
        provider: Provider,
        method: RefreshMethod | None = None,
        client: Client | None = None,
    ) -> RefreshRequest:
        """Return everything that one refresh needs.

        Args:
            account: the row.
            provider: its provider.
            method: another refresh method than the account's.
            client: the client that the account names: its id, secret and way of authentication are used.

        Raises:
            CipherError: a secret does not open; the message says which, and with what key it was sealed.
        """
        custom_fields = self.custom_fields(account)
        found = request_of(account, provider, partial(self.open, account), custom_fields, method)
        return found if client is None else found.of_client(client, self.client_secret(client))

    def client_secret(self, client: Client) -> Secret | None:
        """Open a client's secret, None where it has none.

        Raises:
            CipherError: it does not open.
        """
        from models.tables.client import CLIENT

        sealed = client.client_secret_sealed
        return None if sealed is None else self._cipher.open(sealed, account=client.name, field=CLIENT)

    def seal_client_secret(self, name: str, secret: Secret | None) -> str | None:
        """Seal the secret of the client of this name; an empty one is none."""
        from models.tables.client import CLIENT

        return self._cipher.seal(secret, account=name, field=CLIENT) if secret else None

    def open(self, account: Account, field: str) -> Secret | None:
        """Open one secret of an account, None where it has none.

        Raises:
            CipherError: it does not open.
        """
        sealed: str | None = getattr(account, f"{field}_sealed")
        return None if sealed is None else self._cipher.open(sealed, account=account.id, field=field)

    def custom_fields(self, account: Account) -> dict[str, Secret]:
        """Open the custom fields, name -> value.

        Raises:
            CipherError: they do not open.
        """
        plain = self.open(account, CUSTOM_FIELDS)
        if plain is None:
            return {}
        return {name: Secret(value) for name, value in json.loads(plain.reveal()).items()}


def request_of(
    account: Account,
    provider: Provider,
    secret: Callable[[str], Secret | None],
    custom_fields: Mapping[str, Secret],
    method: RefreshMethod | None = None,
) -> RefreshRequest:
    """Return the request of an account.

    Args:
        account: the row.
        provider: its provider.
        secret: opens one secret by its field's name.
        custom_fields: the custom fields, opened.
        method: another refresh method than the account's.
    """
    from models.refresh_request import RefreshRequest

    return RefreshRequest(
        account_id=account.id,
        provider=provider,
        refresh_method=method or RefreshMethod(account.refresh_method),
        callback=account.callback,
        client_id=account.client_id,
        client_secret=secret(CLIENT_SECRET),
        client_auth=account.client_auth,
        access_token=secret(ACCESS_TOKEN),
        refresh_token=secret(REFRESH_TOKEN),
        token_url=account.token_url,
        server_url=account.server_url,
        scope=account.scope,
        custom_fields=custom_fields,
    )
