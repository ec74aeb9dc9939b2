"""One refresh, from top to bottom: lease, load, open, call, judge, store, publish.

A group of accounts goes through the first steps together, a round trip each; then every account goes on alone,
and its answer is stored and published as soon as it is there. Whatever happens to the group, an answer that
arrived is stored.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

from models.answer import Answer, Judgement, Verdict
from models.tables.account import RefreshMethod
from models.tables.attempt import Outcome, Trigger
from worker.clock import Clock
from worker.ending import is_ending
from worker.log import log
from worker.monitoring.traces import account_step
from worker.policy.reasons.correction import PROVIDER_UNKNOWN
from worker.policy.reasons.passing import INTERNAL_ERROR
from worker.policy.reasons.skipped import (
    CALL_UNDER_WAY,
    GENERATION_MOVED,
    LEASE_HELD,
)
from worker.policy.reasons.waiting import (
    ANSWER_STASHED,
    DATABASE_UNREACHABLE,
    REDIS_UNREACHABLE,
    WORKER_ENDING,
)
from worker.policy.verdicts.verdict import judge, refreshed_before
from worker.refresh.admission import Admission
from worker.refresh.attempt import (
    Hold,
    OpenAttempt,
    Opened,
    Origin,
    Result,
    describe,
    log_attempt,
)
from worker.refresh.caller import Caller, call_provider
from worker.refresh.committer import Committer
from worker.refresh.completed import Completed
from worker.refresh.opener import AttemptOpener
from worker.refresh.outcome import OutcomeBuilder
from worker.refresh.recovery import AnswerRecovery
from worker.refresh.under_way import UnderWay, parts

#: Reasons that are not the account's own: a plan has to see it again.
_DROPPED = frozenset({LEASE_HELD, REDIS_UNREACHABLE, DATABASE_UNREACHABLE})
#: A planned group is done after this long, seconds; calls that are slower go on without it, and hold no thread.
SLOW_CALL_S = 3.0


class Refresher:
    """Refreshes groups of accounts. With `slow_call_s`, calls that are slower end without their planned group."""

    def __init__(
        self,
        *,
        opener: AttemptOpener,
        callers: Mapping[RefreshMethod, Caller],
        outcomes: OutcomeBuilder,
        recovery: AnswerRecovery,
        committer: Committer,
        admission: Admission,
        clock: Clock,
        is_ending: Callable[[], bool] = is_ending,
        slow_call_s: float | None = None,
    ) -> None:
        self._opener = opener
        self._callers = callers
        self._outcomes = outcomes
        self._recovery = recovery
        self._committer = committer
        self._admission = admission
        self._clock = clock
        self._is_ending = is_ending
        self._slow_call_s = slow_call_s
        self._under_way = UnderWay()

    async def refresh(self, accounts: Sequence[tuple[str, int]], origin: Origin) -> dict[str, Result]:
        """Refresh a group of accounts, each at the generation that the caller had seen.

        Never raises for what a provider, a store or an account does: each account has its result.
        """
        is_planned = origin.trigger is Trigger.PLANNED
        results: dict[str, Result] = {}
        calls: list[tuple[OpenAttempt, asyncio.Task[Result]]] = []
        for nth, part in enumerate(all_parts := parts(accounts)):
            await self._turn(len(part), is_first=not nth, is_planned=is_planned)
            if is_planned and self._is_ending():
                self._under_way.answered(len(part))
                results |= self._handed_back([pair for left in all_parts[nth:] for pair in left])
                break
            opened, begun = await self._take(part, origin)
            results |= opened
            calls += begun
        return results | await self._ended(calls, self._slow_call_s if is_planned else None)

    async def _turn(self, accounts: int, *, is_first: bool, is_planned: bool) -> None:
        if is_planned:
            await self._under_way.room()
        if is_first:
            self._under_way.begin(accounts)
        else:
            await self._under_way.turn(accounts)

    def _handed_back(self, accounts: Sequence[tuple[str, int]]) -> dict[str, Result]:
        """Have the rest of a message planned again at once: this worker ends, and another takes it."""
        self._committer.dropped(accounts)
        log.info("handed_back", accounts=len(accounts))
        return {i: Result(Outcome.NOT_SENT, WORKER_ENDING, generation) for i, generation in accounts}

    async def _take(
        self, accounts: Sequence[tuple[str, int]], origin: Origin
    ) -> tuple[dict[str, Result], list[tuple[OpenAttempt, asyncio.Task[Result]]]]:
        """Open attempts and begin their calls; return them, and the results of accounts that are not called."""
        opened = Opened([], {})
        try:
            opened = await self._opener.open(accounts, origin)
        finally:
            self._under_way.answered(len(accounts) - len(opened.attempts))
        if origin.trigger is Trigger.PLANNED:
            # The planner waits as long as a message may live for those it sent; these need not wait.
            dropped = [(i, r.generation) for i, r in opened.results.items() if r.reason in _DROPPED]
            self._committer.dropped(dropped)
        elif origin.trigger is Trigger.REPORTED:
            self._committer.republish([i for i, r in opened.results.items() if r.reason == GENERATION_MOVED])
        tasks = self._under_way.start(self._finish(one) for one in opened.attempts)
        await self._opener.note_refused(opened.results, origin)
        return opened.results, list(zip(opened.attempts, tasks, strict=True))

    async def drain(self) -> None:
        """Wait until every call that is under way has ended, and its answer is stored or safe."""
        await self._under_way.drain()

    async def _ended(
        self, calls: Sequence[tuple[OpenAttempt, asyncio.Task[Result]]], patience_s: float | None
    ) -> dict[str, Result]:
        if calls:
            await asyncio.wait([call for _, call in calls], timeout=patience_s)
        return {
            one.account.id: call.result()
            if call.done()
            else Result(Outcome.BUSY, CALL_UNDER_WAY, one.account.generation)
            for one, call in calls
        }

    @account_step
    async def _finish(self, one: OpenAttempt) -> Result:
        """Take an account through the steps that it goes alone. Where they break off, that is a failure of this account."""
        try:
            return await self._go_on(one)
        except Exception as error:  # noqa: BLE001  (nothing that nobody foresaw may hold an account)
            log.error("refresh_aborted", account=one.account.id, attempt=one.attempt.id, exc_info=error)
            result = await self._close_broken(one, error)
            await self._opener.let_go(one)
            return result

    async def _close_broken(self, one: OpenAttempt, error: Exception) -> Result:
        """Close what broke off as a failure. Where even that is refused, the account is free once its claim ends.

        A new refresh token that it had is put aside first: the row's may be spent.
        """
        account = None
        try:
            account = await self._opener.still_open(one)
        except Exception as other:  # noqa: BLE001  (it has been tried)
            log.error("attempt_left_open", account=one.account.id, attempt=one.attempt.id, error=repr(other))
        try:
            if aside := self._recovery.salvaged(one, account or one.account):
                await self._committer.put_aside(one.account.id, aside)
            if account is not None:
                return await self._commit(*self._outcomes.broke_off(one, account, error))
        except Exception as other:  # noqa: BLE001  (it has been tried)
            log.error("attempt_left_open", account=one.account.id, attempt=one.attempt.id, error=repr(other))
        return Result(Outcome.RETRY, INTERNAL_ERROR, one.attempt.generation)

    async def _go_on(self, one: OpenAttempt) -> Result:
        """Call, judge, store, publish."""
        if one.stashed is not None:
            self._under_way.answered()
            return await self._commit(one, self._outcomes.adopted(one, one.stashed))
        began = _monotonic()
        try:
            answer, judgement = await self._call(one)
        finally:
            self._admission.ended(one)
            self._under_way.answered()
        describe(one.attempt, answer, (_monotonic() - began) * 1000)
        if one.attempt.trigger == Trigger.TEST:
            return await self._tested(one, answer, judgement)
        if answer.token is not None:
            # Stored first; what else there is to tell can wait.
            result = await self._commit(one, self._outcomes.answered(one, answer, judgement))
            await self._record(one, answer, judgement)
            return result
        hold = await self._record(one, answer, judgement)
        return await self._commit(one, self._outcomes.answered(one, answer, judgement, hold=hold))

    async def _call(self, one: OpenAttempt) -> tuple[Answer, Judgement]:
        if one.broken is not None:
            raise one.broken
        if one.request is None or one.provider is None:
            reason, words = one.impossible or (PROVIDER_UNKNOWN, "")
            return Answer(fault_detail=words), Judgement(verdict=Verdict.MISCONFIGURED, reason=reason)
        answer = one.answer = await call_provider(
            self._callers[one.request.refresh_method], one.request, one, self._clock
        )
        before = refreshed_before(one.account)
        return answer, judge(answer, one.provider.error_rules, refreshed_before=before)

    async def _record(self, one: OpenAttempt, answer: Answer, judgement: Judgement) -> Hold | None:
        try:
            return await self._admission.record(one, answer, judgement)
        except Exception as error:  # noqa: BLE001  (what others learn of it keeps no answer from being stored)
            log.error("result_not_recorded", account=one.account.id, reason=judgement.reason, exc_info=error)
            return None

    async def _tested(self, one: OpenAttempt, answer: Answer, judgement: Judgement) -> Result:
        """Close a test: nothing is stored. A refresh token that replaced ours is parked for the next refresh."""
        completed, aside = self._outcomes.tested(one, answer, judgement)
        if aside is not None:
            await self._committer.put_aside(one.account.id, aside)
        await self._record(one, answer, judgement)
        return await self._commit(one, completed)

    async def _commit(self, one: OpenAttempt, completed: Completed) -> Result:
        account, attempt = one.account, one.attempt
        one.answer = None
        stored = await self._committer.commit(completed)
        outcome, reason = Outcome(attempt.outcome or Outcome.NOT_SENT), attempt.reason or ""
        if stored is None:
            reason = DATABASE_UNREACHABLE if completed.completion.seal_answer is None else ANSWER_STASHED
            result = Result(Outcome.RETRY, reason, attempt.generation)
        elif not stored.stored:
            result = Result(Outcome.SUPERSEDED, GENERATION_MOVED, attempt.generation)
        else:
            result = Result(outcome, reason, account.generation)
        log_attempt(one, result.outcome, result.reason, result.generation)
        return result


def _monotonic() -> float:
    return asyncio.get_running_loop().time()
