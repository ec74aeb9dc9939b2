"""Step 6 of a refresh: from an answer to the row, the entry of its history, and what is published of both."""

from __future__ import annotations

from functools import partial

from msgspec.structs import replace

from models.answer import Answer, Fault, Judgement, Verdict
from models.event import Event, EventType
from models.providers import Provider
from models.publication import publication
from models.rate_limit import WaitReason
from models.refresh_request import RefreshRequest
from models.tables.account import Account, Status, fingerprint, read_extra
from models.tables.attempt import AttemptEntry, Outcome, Trigger
from models.token import Secret, TokenResponse, TokenSet
from worker.clock import Clock, draw_jitter
from worker.crypto.sealer import AccountSealer
from worker.db.refresh.completions import Completion
from worker.policy.backoff import consequence
from worker.policy.confirmation import Refusal, reconsidered
from worker.policy.due import TokenTimes, due, session_policy, token_times
from worker.policy.reasons.done import (
    KEPT_ANSWER_ADOPTED,
    LOST_COMMIT_ADOPTED,
    REFRESH_TOKEN_ALONE,
    STASH_ADOPTED,
    TESTED_NOT_STORED,
)
from worker.policy.reasons.login import PROBABLY_DEAD
from worker.policy.token_merge import StoredToken, lost_scopes, merge
from worker.policy.verdicts.verdict import judge
from worker.redis.pending_answers import GrantSeen, PendingAnswer, PendingAnswers
from worker.refresh.attempt import Hold, OpenAttempt, describe, tokens_beside
from worker.refresh.completed import Completed

#: An account whose attempt could not be sent is planned again after this long.
NOT_SENT_RETRY_S = 5.0
#: A plan marks accounts whose token has ended, each second: after this long it has, whatever the attempt had loaded.
ENDED_TOLD_AFTER_S = 1.5


class OutcomeBuilder:
    """Makes of an answer how its attempt ends."""

    def __init__(
        self, *, sealer: AccountSealer, pending: PendingAnswers, clock: Clock, backoff_max_s: float
    ) -> None:
        self._sealer = sealer
        self._pending = pending
        self._clock = clock
        self._backoff_max_s = backoff_max_s

    def answered(
        self, one: OpenAttempt, answer: Answer, judgement: Judgement, *, hold: Hold | None = None
    ) -> Completed:
        """Return how an attempt ends whose call ended, by what its answer means.

        Args:
            one: the account and its attempt.
            answer: what came back.
            judgement: what it means.
            hold: the gate that is closed for this account now.
        """
        _compare(one)
        if answer.token is not None and one.provider is not None and one.request is not None:
            tokens = self._completed(one, answer.token, one.request, one.provider)
            return self._succeeded(one, tokens, judgement.reason)
        if answer.refresh_token is not None and one.request is not None:
            tokens = _tokens_beside(one, answer.refresh_token, one.request)
            return self._refresh_token_alone(one, tokens, sent_at=self._sent_at(one))
        if answer.fault is Fault.NOT_SENT:
            return self._not_sent(one, judgement.reason)
        if judgement.verdict is Verdict.REAUTHORIZE:
            kept = self._pending.kept(one.account)
            if kept is not None and kept.alone and kept.tokens.refresh_token and one.request is not None:
                tokens = _tokens_beside(one, kept.tokens.refresh_token, one.request)
                return self._refresh_token_alone(one, tokens, sent_at=kept.asked_at)
            if kept is not None:
                return self._succeeded(one, kept.tokens, KEPT_ANSWER_ADOPTED, due_now=True)
        return self._failed(one, judgement, hold)

    def tested(self, one: OpenAttempt, answer: Answer, judgement: Judgement) -> tuple[Completed, str | None]:
        """Return how a test ends: the attempt has what would have followed, the account stays as it is.

        Beside it, what has to be parked, sealed: a refresh token that replaced the account's, and what came with it.
        """
        account, attempt, now = one.account, one.attempt, self._clock.now()
        attempt.outcome, attempt.reason = Outcome(judgement.verdict), judgement.reason
        aside = None
        if answer.fault is Fault.NOT_SENT:
            attempt.outcome = Outcome.NOT_SENT
        if answer.token is not None and one.provider is not None and one.request is not None:
            tokens = self._completed(one, answer.token, one.request, one.provider)
            attempt.reason, attempt.received_fp = TESTED_NOT_STORED, fingerprint(tokens.refresh_token)
            times = TokenTimes(
                issued_at=tokens.issued_at,
                expires_at=tokens.expires_at,
                refresh_token_expires_at=tokens.refresh_token_expires_at,
            )
            policy = session_policy(account, one.provider)
            attempt.next_refresh_at = due(policy, times, jitter=account.jitter, now=now).at
            if attempt.received_fp != account.refresh_fp:
                aside = self._pending.seal(account.id, _pending(one, tokens))
        elif answer.refresh_token is not None and one.request is not None:
            tokens = _tokens_beside(one, answer.refresh_token, one.request)
            attempt.received_fp = fingerprint(answer.refresh_token)
            pending = _pending(one, tokens, alone=True, sent_at=self._sent_at(one))
            aside = self._pending.seal(account.id, pending)
        account.given_back(retry_at=account.plan_at)
        return Completed(
            Completion(account, attempt, success=False), publication(account, None, now=now)
        ), aside

    def adopted(self, one: OpenAttempt, stashed: PendingAnswer) -> Completed:
        """Return how an attempt ends that adopts an answer of Redis; no call is made."""
        _compare(one)
        reason = STASH_ADOPTED
        if stashed.seen is not None:
            reason = LOST_COMMIT_ADOPTED
            one.account.caught_up(stashed.seen)
        if stashed.alone:
            return self._refresh_token_alone(
                one, stashed.tokens, sent_at=stashed.asked_at, stashed=stashed.sealed
            )
        return self._succeeded(one, stashed.tokens, reason, stashed=stashed.sealed)

    def broke_off(
        self, one: OpenAttempt, account: Account, error: Exception
    ) -> tuple[OpenAttempt, Completed]:
        """Return how an attempt ends that broke off: as a failure of the row as it is.

        It holds nothing of what was to be stored: that may be what the database refuses.
        """
        was = one.attempt
        attempt = AttemptEntry(
            id=was.id,
            account_id=was.account_id,
            trigger=was.trigger,
            opened_at=was.opened_at,
            worker=was.worker,
            task_id=was.task_id,
            generation=was.generation,
            config_version=was.config_version,
        )
        answer = Answer(fault=Fault.INTERNAL, fault_detail=type(error).__name__)
        describe(attempt, answer, was.latency_ms or 0)
        again, judgement = replace(one, account=account, attempt=attempt), judge(answer, ())
        if attempt.trigger == Trigger.TEST:
            return again, self.tested(again, answer, judgement)[0]
        return again, self._failed(again, judgement, None)

    def _completed(
        self, one: OpenAttempt, token: TokenResponse, request: RefreshRequest, provider: Provider
    ) -> TokenSet:
        account = one.account
        return merge(
            token,
            StoredToken(
                refresh_token=request.refresh_token,
                token_type=account.token_type,
                scope=account.scope,
                refresh_token_expires_at=account.refresh_token_expires_at,
                extra=read_extra(account.extra),
            ),
            issued_at=self._sent_at(one),
            default_lifetime_s=provider.default_lifetime_s,
            never_expires=provider.never_expires,
            refresh_token_lifetime_s=provider.refresh_token_lifetime_s,
        )

    def _sent_at(self, one: OpenAttempt) -> float:
        return one.sent_at or self._clock.now()

    def _succeeded(
        self,
        one: OpenAttempt,
        tokens: TokenSet,
        reason: str,
        *,
        stashed: str | None = None,
        due_now: bool = False,
    ) -> Completed:
        account, attempt, now = one.account, one.attempt, self._clock.now()
        was_troubled = account.is_troubled or _end_was_told(account, now)
        seal_answer = partial(self._pending.seal, account.id, _pending(one, tokens))
        attempt.scope_lost = lost_scopes(account.scope, tokens.scope)
        sealed, jitter = self._sealer.seal_tokens(account.id, tokens), draw_jitter()
        account.refreshed(sealed, next_refresh_at=None, due_reason="", jitter=jitter, now=now)
        if one.provider is not None:
            when = due(session_policy(account, one.provider), token_times(account), jitter=jitter, now=now)
            account.rescheduled(now if due_now else when.at, when.reason)
        attempt.outcome, attempt.reason = Outcome.REFRESHED, reason
        attempt.generation_after, attempt.received_fp = account.generation, sealed.refresh_fp
        attempt.next_refresh_at = account.next_refresh_at
        kinds = [EventType.REFRESHED]
        if was_troubled:
            kinds.append(EventType.RECOVERED)
        events = tuple(_event(kind, account, reason, now) for kind in kinds)
        return Completed(
            Completion(account, attempt, success=True, seal_answer=seal_answer, events=events[1:]),
            publication(account, tokens.access_token or None, now=now),
            events,
            stashed=stashed,
        )

    def _refresh_token_alone(
        self, one: OpenAttempt, tokens: TokenSet, *, sent_at: float | None, stashed: str | None = None
    ) -> Completed:
        """Return how an attempt ends whose answer brought a new refresh token and no usable access token.

        It is stored as a success is, on the generation alone, for the old one may be spent. The access token stays as it
        is and is not published again; the account is asked once more with the new refresh token, later each time.
        """
        account, attempt = one.account, one.attempt
        pending = _pending(one, tokens, alone=True, sent_at=sent_at)
        seal_answer = partial(self._pending.seal, account.id, pending)
        sealed = self._sealer.seal_tokens(account.id, tokens)
        account.refresh_token_replaced(sealed)
        judgement = Judgement(verdict=Verdict.RETRY, reason=REFRESH_TOKEN_ALONE)
        completed = self._failed(one, judgement, None)
        attempt.generation_after, attempt.received_fp = account.generation, sealed.refresh_fp
        completion = replace(completed.completion, success=True, seal_answer=seal_answer)
        return replace(completed, completion=completion, stashed=stashed)

    def _failed(self, one: OpenAttempt, judgement: Judgement, hold: Hold | None) -> Completed:
        account, attempt, now = one.account, one.attempt, self._clock.now()
        was = Status.DEGRADED if _end_was_told(account, now) else one.was
        after = consequence(
            judgement,
            has_token=account.access_token_sealed is not None,
            failures=account.failures,
            expires_at=account.expires_at,
            jitter=draw_jitter(),
            now=now,
            max_s=self._backoff_max_s,
        )
        after, reason = reconsidered(
            Refusal(
                judgement=judgement,
                trigger=attempt.trigger,
                error=attempt.error,
                http_status=attempt.http_status,
            ),
            # An outage is not the account's own failure.
            replace(after, counts=after.counts and not (hold is not None and hold.cause is WaitReason.DOWN)),
            account,
            one.provider,
            now=now,
        )
        status, was_reason = after.status, account.reason
        if not account.refresh_enabled:
            status = Status.DISABLED
        elif account.is_troubled and (status is Status.ACTIVE or _needs_a_person_still(account, judgement)):
            # A failure of another kind ends nothing: the account's status holds until a token comes.
            status, reason = Status(account.status), account.reason or reason
        account.failed(
            status=status,
            reason=reason,
            # What no plan would refresh (disabled, `none`) is not planned because a person's try failed.
            retry_at=_retry_at(after.retry_at, hold) if account.next_refresh_at is not None else None,
            counts=after.counts,
            now=now,
            held_by=None if hold is None else hold.gate,
        )
        attempt.outcome, attempt.reason = Outcome(judgement.verdict), judgement.reason
        attempt.next_refresh_at = account.next_refresh_at
        events = [_event(EventType.FAILED, account, judgement.reason, now)]
        # One event for the client, not one for each of its accounts.
        folded = hold is not None and hold.cause is WaitReason.REFUSED
        changed = account.status != was or (reason == PROBABLY_DEAD and was_reason != PROBABLY_DEAD)
        if changed and account.status in set(EventType) and not folded:
            events.append(_event(EventType(account.status), account, reason, now))
        return Completed(
            Completion(account, attempt, success=False, events=tuple(events[1:])),
            publication(account, None, now=now),
            tuple(events),
        )

    def _not_sent(self, one: OpenAttempt, reason: str) -> Completed:
        now = self._clock.now()
        one.account.given_back(retry_at=now + NOT_SENT_RETRY_S)
        one.attempt.outcome, one.attempt.reason = Outcome.NOT_SENT, reason
        return Completed(
            Completion(one.account, one.attempt, success=False), publication(one.account, None, now=now)
        )


def _tokens_beside(one: OpenAttempt, refresh_token: Secret, request: RefreshRequest) -> TokenSet:
    return tokens_beside(one.account, refresh_token, request, extra=read_extra(one.account.extra))


def _pending(
    one: OpenAttempt, tokens: TokenSet, *, alone: bool = False, sent_at: float | None = None
) -> PendingAnswer:
    """Return an answer that follows the row as it was loaded."""
    account = one.account
    seen = GrantSeen(one.attempt.opened_at, account.refresh_fp, account.source_fp)
    return PendingAnswer(account.generation, tokens, alone=alone, sent_at=sent_at, grant=seen)


def _retry_at(at: float | None, hold: Hold | None) -> float | None:
    """Return when to try again: after a pause all that it held come back at once, whoever drew the 429."""
    if at is None or hold is None or hold.cause is not WaitReason.THROTTLED:
        return at
    return min(at, hold.until)


def _needs_a_person_still(account: Account, judgement: Judgement) -> bool:
    """Return whether the grant is gone, and the provider was only busy or away when it was tried again."""
    passing = judgement.verdict in {Verdict.RETRY, Verdict.RATE_LIMITED}
    return passing and account.status == Status.REAUTHORIZE


def _end_was_told(account: Account, now: float) -> bool:
    """Return whether a plan marked the account degraded during its call: the row as loaded does not have that."""
    ended = account.expires_at is not None and account.expires_at <= now - ENDED_TOLD_AFTER_S
    return ended and account.status == Status.ACTIVE and account.next_refresh_at is not None


def _compare(one: OpenAttempt) -> None:
    """Write into an attempt what only the row as loaded has: when it was due, and whether an attempt was left open."""
    due_at = one.account.next_refresh_at
    if one.sent_at is not None and due_at is not None:
        one.attempt.lag_s = one.sent_at - due_at
    one.attempt.after_interruption = one.account.claim_attempt is not None


def _event(kind: EventType, account: Account, reason: str, now: float) -> Event:
    return Event(
        type=kind.value,
        account=account.id,
        generation=account.generation,
        reason=reason,
        at=now,
        labels=account.labels,
    )
