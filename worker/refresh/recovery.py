"""Answers in Redis: a refresh adopts one before it asks for another, for the row's refresh token may be spent."""

from __future__ import annotations

from msgspec.structs import replace

from models.tables.account import Account, fingerprint, read_extra
from worker.db.refresh.async_stores import AsyncRefreshStore
from worker.log import log
from worker.redis.leases import Sealed
from worker.redis.pending_answers import GrantSeen, PendingAnswer, PendingAnswers
from worker.refresh.attempt import OpenAttempt, tokens_beside


class AnswerRecovery:
    """Finds the answer that follows an account's row: in Redis, or kept beside the row."""

    def __init__(self, *, pending: PendingAnswers, store: AsyncRefreshStore) -> None:
        self._pending = pending
        self._store = store

    async def answer_for(self, account: Account, sealed: Sealed) -> PendingAnswer | None:
        """Return the answer to adopt, None where there is none.

        Args:
            account: the row as it was loaded.
            sealed: what Redis holds of it, sealed.

        Raises:
            CipherError: an answer in Redis does not open, so that the row's refresh token may be spent.
        """
        if not (sealed.stash or account.kept_sealed or sealed.generation):
            return None
        found = [await self._stashed(account, sealed.stash) if sealed.stash else None]
        seen = sealed.generation
        if seen is not None and seen > account.generation:
            found.append(await self._lost(account, seen, sealed.answer))
        else:
            seen = None
        # An answer that follows the row is a test's that Redis did not take, or one whose row a promoted replica lacks.
        # One that lost a race follows an older row, and waits until the row's refresh token is refused; but where the row
        # still has the refresh token that was sent for it, that one is spent.
        kept = self._pending.kept(account)
        if kept is not None and kept.generation >= account.generation:
            found.append(kept)
        elif kept is not None and _succeeds(kept, account):
            found.append(_beside_newer(kept, account))
        elif kept is not None and account.kept_sealed and await self._is_of_earlier_grant(account, kept):
            await self._store.forget_kept(account.id, account.kept_sealed)
            account.kept(None)
        answers = [one for one in found if one is not None]
        if not answers:
            return None
        return replace(max(answers, key=lambda one: (one.given, one.generation)), seen=seen)

    def salvaged(self, one: OpenAttempt, row: Account) -> str | None:
        """Return the new refresh token of an attempt that broke off with its answer, sealed; None where it brought none.

        Its access token is given up, for what broke off was made of it: the next refresh adopts the refresh token, and asks
        for another. `row` is what the database has, as the account that was loaded may have been changed halfway.
        """
        answer, request = one.answer, one.request
        if answer is None or request is None:
            return None
        found = answer.refresh_token if answer.token is None else answer.token.refresh_token
        if not found or found == request.refresh_token:
            return None
        try:
            extra = read_extra(row.extra)
        except ValueError:  # somebody wrote into the row, and that may be what broke off
            extra = {}
        seen = GrantSeen(one.attempt.opened_at, one.attempt.refresh_fp, one.account.source_fp)
        sent_at = one.sent_at or one.attempt.opened_at
        tokens = tokens_beside(row, found, request, extra=extra)
        pending = PendingAnswer(one.attempt.generation, tokens, alone=True, sent_at=sent_at, grant=seen)
        return self._pending.seal(row.id, pending)

    async def _lost(self, account: Account, seen: int, sealed: str | None) -> PendingAnswer | None:
        """Open the answer that was committed last, of a row that lacks the commit; None where it is of no use."""
        answer = self._pending.open(account.id, sealed) if sealed else None
        useful = (
            answer is not None
            and answer.generation >= account.generation
            and (answer.asked_at or 0.0) > max(account.issued_at or 0.0, account.created_at)
            and fingerprint(answer.tokens.refresh_token) != account.refresh_fp
            and not await self._is_of_grant_before(account, answer)
        )
        log.error(
            "database_lost_commits",
            account=account.id,
            generation=account.generation,
            redis_generation=seen,
            adopted=useful,
        )
        return answer if useful else None

    async def _stashed(self, account: Account, sealed: str) -> PendingAnswer | None:
        """Open a parked answer; where its generation is over, keep it beside the row, unless the row came from it."""
        stashed = self._pending.open(account.id, sealed)
        if stashed.generation >= account.generation:
            return stashed
        is_new = fingerprint(stashed.tokens.refresh_token) != account.refresh_fp
        if is_new and _succeeds(stashed, account):
            return _beside_newer(stashed, account)
        if (stashed.asked_at or account.created_at) < account.created_at:
            log.warning("stale_answer_dropped", account=account.id)
        elif stashed.given and is_new:
            # A refresh of the grant before was stored meanwhile: what was given ends that grant all the same.
            if not await self._is_of_earlier_grant(account, stashed):
                return stashed
        elif (kept := self._pending.kept(account)) is not None and kept.generation >= account.generation:
            log.warning("stale_answer_dropped", account=account.id)  # the row's own successor is kept there
        elif is_new and not await self._is_of_earlier_grant(account, stashed):
            await self._store.keep(account.id, sealed)
            account.kept(sealed)
        await self._pending.forget({account.id: sealed})
        return None

    async def _is_of_grant_before(self, account: Account, lost: PendingAnswer) -> bool:
        """Return whether the account was given another grant since the attempt of an answer whose commit was lost."""
        seen = lost.grant
        return seen is not None and (
            seen.source_fp != account.source_fp or await self._store.granted_since(account.id, seen.at)
        )

    async def _is_of_earlier_grant(self, account: Account, late: PendingAnswer) -> bool:
        """Return whether the account was given another grant since the answer's attempt: it may be another owner's.

        A person's or a file's tokens change `source_fp`, those of a platform leave an entry of the audit trail. Either may
        be an access token alone: where the refresh token that was sent is the row's still, its grant is.
        """
        seen = late.grant
        if seen is None or (seen.refresh_fp is not None and seen.refresh_fp == account.refresh_fp):
            return False
        given = seen.source_fp != account.source_fp or await self._store.granted_above(
            account.id, late.generation, since=seen.at
        )
        if given:
            log.warning("answer_of_earlier_grant_dropped", account=account.id)
        return given


def _succeeds(late: PendingAnswer, account: Account) -> bool:
    """Return whether a row of a later generation still has the refresh token that was sent for this answer.

    Somebody gave the account an access token alone while it was refreshed.
    """
    return (
        late.grant is not None
        and late.grant.refresh_fp is not None
        and late.grant.refresh_fp == account.refresh_fp
    )


def _beside_newer(late: PendingAnswer, account: Account) -> PendingAnswer:
    """Return an answer without its access token, where the row's was issued later: it was given since."""
    is_newer = (account.issued_at or 0.0) > (late.tokens.issued_at or 0.0)
    return replace(late, alone=True) if is_newer else late
