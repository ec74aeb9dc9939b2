"""A refresh token is tried under the account's claim: nothing else sends it meanwhile, neither a worker nor another try."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

from models.account_state import fingerprint
from models.tables.account import Account
from worker.accounts.grants.entry import Grant
from worker.db.accounts.stored import Accounts
from worker.errors import DatabaseUnreachable, RefreshdError

_CLAIM: Final = "try-{}"


class TokenInUse(RefreshdError):
    """The refresh token of a grant is being sent already, or its successor waits to be stored."""


@contextmanager
def trial(
    accounts: Accounts,
    account: Account,
    grant: Grant,
    *,
    claim_s: float,
    has_stash: Callable[[str], bool],
) -> Iterator[None]:
    """Hold an account while the refresh token of a grant is tried, and until what came of it is stored.

    A try of a token that is not the stored one goes on where a refresh is under way: that sends another.

    Args:
        accounts: their table.
        account: as it was read before the grant was checked.
        grant: what is tried.
        claim_s: how long the account is kept from workers, at most.
        has_stash: tells whether a newer answer of an account waits in Redis.

    Raises:
        TokenInUse: nothing is to be sent.
    """
    fp = fingerprint(grant.tokens.refresh_token)
    if fp is None:
        yield
        return
    claim = _CLAIM.format(fp)
    claimed = accounts.claim(account, claim, claim_s=claim_s)
    try:
        if not claimed:
            _check_apart(account, accounts.find([account.id]).get(account.id), fp, claim)
        elif fp == account.refresh_fp and (account.kept_sealed or has_stash(account.id)):
            raise TokenInUse(
                f"a newer answer of account {account.id} waits to be stored: let a refresh store it first"
            )
        yield
    finally:
        if claimed:
            with suppress(DatabaseUnreachable):  # it ends by itself
                accounts.unclaim(account.id, claim)


def _check_apart(account: Account, now: Account | None, fp: str, claim: str) -> None:
    """Check that what holds an account sends another refresh token than the one to be tried.

    Raises:
        TokenInUse: it may send the same.
    """
    if now is None:
        return
    moved = (now.generation, now.config_version) != (account.generation, account.config_version)
    if moved or fp == now.refresh_fp or now.claim_attempt == claim:
        raise TokenInUse(
            f"account {account.id} changes, or the refresh token is being sent already: try again in a moment"
        )
