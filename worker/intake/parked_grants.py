"""Grants that the database does not take now, parked in Redis: what brought them, a refresh token or a code, may be spent.

The account's next refresh stores one before it asks for anything, if nobody gave the account another grant since.
"""

from __future__ import annotations

from models.account_state import fingerprint
from models.tables.account import Account
from models.token import Secret
from worker.accounts.grants.entry import Grant
from worker.accounts.grants.tokens import token_set
from worker.context import AppContext
from worker.errors import RefreshdError
from worker.log import log
from worker.redis.client import in_words
from worker.redis.pending_answers import GrantSeen, PendingAnswer, PendingAnswers


def park(here: AppContext, grant: Grant, account: Account, *, sent: Secret | None, at: float) -> bool:
    """Park a grant, sealed; returns False where Redis does not take it either, or its provider is unknown.

    Args:
        here: the stores.
        grant: as it was to be stored.
        account: as it was read before the grant was asked for.
        sent: the refresh token that it was asked for with; None: a code.
        at: when it was asked for, epoch seconds.
    """
    provider = here.providers.for_schedule(account)
    if provider is None:
        return False
    answer = PendingAnswer(
        account.generation,
        token_set(grant, account, provider, now=here.clock.now()),
        alone=not grant.tokens.access_token,
        sent_at=at,
        grant=GrantSeen(at, fingerprint(sent), account.source_fp),
        given=True,
    )
    sealed = PendingAnswers.seal_with(here.cipher, account.id, answer)
    try:
        with in_words(here.settings.redis):
            here.redis.set(here.keys.stash(account.id), sealed)
    except RefreshdError as error:
        log.error("grant_not_parked", account=account.id, error=str(error))
        return False
    log.error("grant_parked", account=account.id)
    return True


def words_of(account_id: str, error: RefreshdError, *, parked: bool) -> str:
    """Return what is said of a tried grant that could not be stored."""
    tried = f"the grant refreshes, and could not be stored: {error}"
    if not parked:
        return f"{tried}. Its new tokens are lost, and the refresh token that was given may be spent: ask for consent again"
    return (
        f"{tried}. Its new tokens wait in Redis, sealed; `refreshd refresh {account_id} --force` stores them. Do not send the "
        "same refresh token again"
    )
