"""Answers that wait: a refresh adopts one before it asks for another, for the row's refresh token may be spent."""

from __future__ import annotations

from models.account import Account, fingerprint
from worker.db.async_stores import AsyncRefreshStore
from worker.log import log
from worker.redis.pending_answers import PendingAnswer, PendingAnswers


class AnswerRecovery:
    """Finds the answer that follows an account's row: parked in Redis, or kept beside the row."""

    def __init__(self, *, pending: PendingAnswers, store: AsyncRefreshStore) -> None:
        self._pending = pending
        self._store = store

    async def answer_for(self, account: Account, sealed: str | None) -> PendingAnswer | None:
        """Return the answer to adopt, None where there is none.

        Args:
            account: the row as it was loaded.
            sealed: its parked answer in Redis, if it has one.

        Raises:
            CipherError: the parked answer does not open, so that the row's refresh token may be spent.
        """
        if not (sealed or account.kept_sealed):
            return None
        stashed = await self._stashed(account, sealed) if sealed else None
        if stashed is not None:
            return stashed
        # An answer that follows the row is a test's that Redis did not take. One that lost a race follows an older row,
        # and waits until the row's refresh token is refused.
        kept = self._pending.kept(account)
        return kept if kept is not None and kept.generation >= account.generation else None

    async def _stashed(self, account: Account, sealed: str) -> PendingAnswer | None:
        """Open a parked answer; where its generation is over, keep it beside the row, unless the row came from it."""
        stashed = self._pending.open(account.id, sealed)
        if stashed.generation >= account.generation:
            return stashed
        if (stashed.tokens.issued_at or account.created_at) < account.created_at:
            log.warning("stale_answer_dropped", account=account.id)
        elif fingerprint(stashed.tokens.refresh_token) != account.refresh_fp:
            await self._store.keep(account.id, sealed)
            account.kept(sealed)
        await self._pending.clear([account.id])
        return None
