"""A grant as a consent brings it: every field read, none compared with what is stored yet."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any, Final

from msgspec import Struct, field
from sqlalchemy import Connection

from models.account_state import fingerprint
from models.act import Actor
from models.token import Secret, TokenResponse
from worker.accounts.entry import Problem, RowRefused, read_entry
from worker.accounts.values import TOKEN_READERS

#: The fields of a grant; a provider's token response has them by the same names (RFC 6749 section 5.1).
GRANT_FIELDS: Final = (
    "access_token", "refresh_token", "token_type", "scope", "issued_at", "expires_in", "expires_at",
)  # fmt: skip
REFRESH_TOKEN_EXPIRES_IN: Final = "refresh_token_expires_in"


class GrantOutcome(StrEnum):
    """What a grant did to its account."""

    #: The account never had a token.
    CONNECTED = "connected"
    #: The account was in trouble, mostly in `reauthorize`: it has a usable token again.
    RECONNECTED = "reconnected"
    #: The account was well, and has another grant now.
    REPLACED = "replaced"


class Grant(Struct, frozen=True):
    """What a consent brought, for one account, and who brings it."""

    account: str
    tokens: TokenResponse
    issued_at: float | None
    actor: Actor
    #: The account must have these labels; one that lacks them is unknown.
    require_labels: Mapping[str, str] = field(default_factory=dict)
    #: Everything that came with the tokens; the provider's data says what of it is published.
    response: Mapping[str, Any] = field(default_factory=dict)
    #: Two accounts of one client may have the same refresh token.
    allow_shared: bool = False
    #: When its owner consented, or it was handed over, epoch seconds; None: it is stored at once, whatever came before.
    consented_at: float | None = None
    #: It was handed over, and may be once more; False: a provider has just given these tokens.
    may_be_repeated: bool = False
    #: Fingerprints of the refresh and the access token that were handed over; None: these tokens are.
    given: tuple[str | None, str | None] | None = None
    #: Writes beside the grant, in the commit that stores it: the outcome, and the new generation.
    also: Callable[[Connection, GrantOutcome, int], None] | None = None
    #: Changes the account's configuration before it gets the grant, in the commit that stores both: the grant is judged by the
    #: account as it was. False: the account has moved on.
    configure: Callable[[Connection], bool] | None = None
    #: The access and the refresh token, sealed before a transaction begins; None: they are not yet.
    sealed: tuple[str | None, str | None] | None = None

    @property
    def fingerprints(self) -> tuple[str | None, str | None]:
        """Return those of the refresh token and of the access token that were handed over, None for none."""
        tokens = self.tokens
        return self.given or (fingerprint(tokens.refresh_token), fingerprint(tokens.access_token))

    def __repr__(self) -> str:
        """Name the grant, without what came with it."""
        return f"Grant(account={self.account!r}, actor={self.actor!r})"


def read_grant(
    account_id: str,
    fields: Mapping[str, Any],
    *,
    actor: Actor,
    require_labels: Mapping[str, str] | None = None,
    allow_shared: bool = False,
    consented_at: float | None = None,
) -> Grant:
    """Read a grant: a provider's token response, or the same fields by hand. Other fields of it are not looked at.

    Raises:
        RowRefused: with every field that can't be read; the reasons are those of an import.
    """
    entry = read_entry({"id": account_id} | {name: fields[name] for name in GRANT_FIELDS if name in fields})
    if not entry.access_token and not entry.refresh_token:
        raise RowRefused(
            [Problem("access_token", "is missing: a grant has one, or a refresh_token, or both")]
        )
    lifetime_s = fields.get(REFRESH_TOKEN_EXPIRES_IN)
    try:
        refresh_s = None if lifetime_s is None else TOKEN_READERS["expires_in"](lifetime_s)
    except ValueError as error:
        raise RowRefused([Problem(REFRESH_TOKEN_EXPIRES_IN, str(error))]) from None
    tokens = TokenResponse(
        access_token=entry.access_token or Secret(""),
        refresh_token=entry.refresh_token,
        token_type=entry.text("token_type"),
        scope=entry.text("scope"),
        expires_in_s=entry.seconds("expires_in"),
        expires_at=entry.seconds("expires_at"),
        refresh_token_expires_in_s=float(refresh_s) if refresh_s is not None else None,
    )
    return Grant(
        account=entry.id,
        tokens=tokens,
        issued_at=entry.seconds("issued_at"),
        actor=actor,
        require_labels=require_labels or {},
        response=fields,
        allow_shared=allow_shared,
        consented_at=consented_at,
        may_be_repeated=True,
    )
