"""An account with its secrets in clear, while a row or an edit is applied to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from msgspec.structs import asdict

from models.account_state import fingerprint, read_extra
from models.providers import Provider
from models.refresh_request import RefreshRequest
from models.token import Secret, TokenSet
from worker.accounts.columns import CUSTOM_FIELDS
from worker.accounts.entry import Problem
from worker.clock import draw_jitter
from worker.crypto.sealer import ACCESS_TOKEN, CLIENT_SECRET, REFRESH_TOKEN, AccountSealer, request_of
from worker.errors import CipherError

if TYPE_CHECKING:  # tables bring the ORM, which reading an account has no use for
    from models.tables.account import Account
    from models.tables.client import Client

_WHERE_LOST: Final = "where it is lost, give every secret anew: `refreshd accounts import FILE --replace-tokens`, or `accounts edit`"


class UnsealedAccount:
    """Opens each secret when it is first read. One that does not open is noted, and may be replaced.

    Args:
        account: the row.
        sealer: opens and seals.
        client: the client that the account names, whose secret is then the account's.
    """

    def __init__(self, account: Account, sealer: AccountSealer, client: Client | None = None) -> None:
        self.account = account
        self._sealer = sealer
        self._client = client
        self._plain: dict[str, Secret | None] = {}
        self._custom_fields: dict[str, Secret] | None = None
        self._unreadable: dict[str, str] = {}

    def get(self, name: str) -> Secret | None:
        """Return `client_secret`, `access_token` or `refresh_token`."""
        if name not in self._plain:
            try:
                self._plain[name] = self._open(name)
            except CipherError as error:
                self._plain[name] = None
                self._unreadable[name] = str(error)
        return self._plain[name]

    def _open(self, name: str) -> Secret | None:
        if name == CLIENT_SECRET and self._client is not None:
            return self._sealer.client_secret(self._client)
        return self._sealer.open(self.account, name)

    def use(self, client: Client) -> None:
        """Have the client's secret from now on."""
        self._client = client
        self._plain.pop(CLIENT_SECRET, None)
        self._unreadable.pop(CLIENT_SECRET, None)

    @property
    def client(self) -> Client | None:
        """Return the client whose secret is the account's."""
        return self._client

    @property
    def custom_fields(self) -> Mapping[str, Secret]:
        if self._custom_fields is None:
            try:
                self._custom_fields = self._sealer.custom_fields(self.account)
            except CipherError as error:
                self._custom_fields = {}
                self._unreadable[CUSTOM_FIELDS] = str(error)
        return self._custom_fields

    def set_columns(self, **values: object) -> None:
        """Change columns of the account, past SQLAlchemy's change tracking (`models/tables/account.py` says why)."""
        vars(self.account).update(values)

    def set_client_secret(self, secret: Secret | None) -> None:
        self._client = None
        self._plain[CLIENT_SECRET] = secret
        self._unreadable.pop(CLIENT_SECRET, None)
        self.set_columns(client_secret_sealed=self._sealer.seal(self.account.id, CLIENT_SECRET, secret))

    def set_custom_fields(self, custom_fields: Mapping[str, Secret]) -> None:
        self._custom_fields = dict(custom_fields)
        self._unreadable.pop(CUSTOM_FIELDS, None)
        self.set_columns(custom_fields_sealed=self._sealer.seal_custom_fields(self.account.id, custom_fields))

    def set_tokens(self, tokens: TokenSet, *, new_generation: bool, now: float) -> None:
        """Take a token set. A stored refresh token that does not open is not given up for one without any."""
        self._plain |= {ACCESS_TOKEN: tokens.access_token or None, REFRESH_TOKEN: tokens.refresh_token}
        self._unreadable.pop(ACCESS_TOKEN, None)
        if tokens.refresh_token:
            self._unreadable.pop(REFRESH_TOKEN, None)
        sealed = self._sealer.seal_tokens(self.account.id, tokens)
        if new_generation:
            self.account.refreshed(sealed, next_refresh_at=None, due_reason="", jitter=draw_jitter(), now=now)
            return
        self.set_columns(**asdict(sealed))

    def token_fingerprint(self) -> str | None:
        """Return the stored refresh token's fingerprint, or the access token's where there is no other."""
        return self.account.refresh_fp or fingerprint(self.get(ACCESS_TOKEN))

    def has_lost_tokens(self) -> bool:
        """Return whether a stored token does not open."""
        return any(
            self.get(name) is None and name in self._unreadable for name in (ACCESS_TOKEN, REFRESH_TOKEN)
        )

    def unreadable(self) -> list[Problem]:
        """Name the secrets that did not open and were not replaced."""
        return [Problem(name, f"{reason}; {_WHERE_LOST}") for name, reason in self._unreadable.items()]

    def stored_extra(self) -> dict[str, str]:
        """Return what the provider returned for use beside the token."""
        return read_extra(self.account.extra)

    def request(self, provider: Provider) -> RefreshRequest:
        """Return what a refresh of the account would be made of."""
        found = request_of(self.account, provider, self.get, self.custom_fields)
        return found if self._client is None else found.of_client(self._client, self.get(CLIENT_SECRET))
