"""The publication of an account in Redis: its token and its status."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from models.account_state import read_extra
from models.token import Secret
from refreshd_reader.contract import AccountState, Token

if TYPE_CHECKING:  # tables bring the ORM, which reading an account has no use for
    from models.tables.account import Account

#: The columns of an account that a publication needs, and the generation that Redis has.
PUBLISHED_COLUMNS: Final = (
    "id",
    "generation",
    "published_generation",
    "status",
    "reason",
    "status_at",
    "next_refresh_at",
    "access_token_sealed",
    "token_type",
    "scope",
    "issued_at",
    "expires_at",
    "extra",
)


class Publication(Struct, frozen=True):
    """The token and the status to publish for one account."""

    account: str
    state: AccountState
    #: None: only the state changes, and a token that is there stays until it ends.
    token: Token | None = None

    def at(self, generation: int) -> Publication:
        """Return a copy with another generation."""
        token = self.token and replace(self.token, generation=generation)
        return Publication(self.account, replace(self.state, generation=generation), token)


def publication(account: Account, access_token: Secret | None, *, now: float) -> Publication:
    """Return the publication of a row; a token that has ended is left out."""
    state = AccountState(
        account.status,
        account.generation,
        account.reason,
        account.next_refresh_at,
        since=account.status_at or None,
    )
    if access_token is None or (account.expires_at is not None and account.expires_at <= now):
        return Publication(account.id, state)
    token = Token(
        access_token=access_token.reveal(),
        generation=account.generation,
        token_type=account.token_type,
        scope=account.scope,
        issued_at=account.issued_at,
        expires_at=account.expires_at,
        extra=read_extra(account.extra),
    )
    return Publication(account.id, state, token)
