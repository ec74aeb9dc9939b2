"""One refresh, from top to bottom: lease, load, open, call, judge, store, publish.

A group of accounts goes through the first steps together, a round trip each; then every account goes on alone,
and its answer is stored and published as soon as it is there. Whatever happens to the group, an answer that
arrived is stored.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from typing import Final

from redis.exceptions import RedisError

from models.account import Account, RefreshMethod
from models.answer import Answer, Judgement, Verdict
from models.attempt import Outcome, Trigger, new_attempt_ids
from worker.clock import Clock
from worker.db.async_stores import AsyncRefreshStore
from worker.errors import CipherError, DatabaseUnreachable
from worker.log import log
from worker.monitoring.traces import account_step, step
from worker.policy.eligibility import Skip, skip_reason
from worker.policy.reasons.correction import (
    PROVIDER_UNKNOWN,
    STASH_UNREADABLE,
)
from worker.policy.reasons.passing import INTERNAL_ERROR
from worker.policy.reasons.skipped import (
    ATTEMPT_OPEN,
    CALL_UNDER_WAY,
    GENERATION_MOVED,
    LEASE_HELD,
    METHOD_NOT_RUN_HERE,
)
from worker.policy.reasons.waiting import ANSWER_STASHED, DATABASE_UNREACHABLE, REDIS_UNREACHABLE
from worker.policy.rejected_tokens import report_refusal
from worker.policy.verdicts.verdict import judge, refreshed_before
from worker.redis.leases import Leases, Sealed
from worker.refresh.admission import Admission
from worker.refresh.attempt import (
    Deadlines,
    Hold,
    OpenAttempt,
    Opened,
    Origin,
    Result,
    describe,
    log_attempt,
    new_attempt,
    refused_entries,
)
from worker.refresh.caller import Caller, call_provider
from worker.refresh.committer import Committer, Completed
from worker.refresh.outcome import OutcomeBuilder
from worker.refresh.recovery import AnswerRecovery
from worker.refresh.requests import RequestBuilder

#: Reasons that are not the account's own: a plan has to see it again.
_DROPPED = frozenset({LEASE_HELD, REDIS_UNREACHABLE, DATABASE_UNREACHABLE})
#: A planned group is done after this long, seconds; calls that are slower go on without it, and hold no thread.
SLOW_CALL_S = 3.0
#: A message of many accounts is refreshed so many at a time: more calls at once would need more connections, and keep the
#: event loop longer from answers that arrive.
AT_ONCE: Final = 50
#: The next accounts of a message wait for the calls before them, but no longer than this, seconds.
NEXT_AFTER_S: Final = 1.0
#: While more calls are under way in one process, it takes no further planned group.
CALLS_MAX = 1_000
#: Entries of an account's history that a report is judged by.
REPORTS_LOOKED_AT = 20


@step("lease")
async def _lease(leases: Leases, seen: Mapping[str, int]) -> dict[str, Sealed]:
    return await leases.acquire(seen)


class AttemptOpener:
    """Takes a group through the steps before the call: lease, load, check, admit, open."""

    def __init__(
        self,
        *,
        leases: Leases,
        store: AsyncRefreshStore,
        recovery: AnswerRecovery,
        requests: RequestBuilder,
        admission: Admission,
        methods: Collection[RefreshMethod],
        clock: Clock,
        deadlines: Deadlines,
    ) -> None:
        self._leases = leases
        self._store = store
        self._recovery = recovery
        self._requests = requests
        self._admission = admission
        self._methods = methods
        self._clock = clock
        self._deadlines = deadlines

    @step("open")
    async def open(self, accounts: Sequence[tuple[str, int]], origin: Origin) -> Opened:
        """Open attempts on accounts, each at the generation that the caller had seen.

        The lease of each account that is not called is released.
        """
        seen, began = dict(accounts), _monotonic()
        try:
            taken = await _lease(self._leases, seen)
        except (RedisError, OSError) as error:
            log.error("redis_unreachable", accounts=len(seen), error=str(error))
            return Opened([], {i: Result(Outcome.NOT_SENT, REDIS_UNREACHABLE, seen[i]) for i in seen})
        found = Opened([], {i: Result(Outcome.BUSY, LEASE_HELD, seen[i]) for i in seen if i not in taken})
        try:
            ready = await self._check(taken, seen, origin, began, found.results)
            found.attempts = await self._open(await self._admitted(ready, found.results), found.results)
        except (DatabaseUnreachable, RedisError, OSError) as error:
            gone = DATABASE_UNREACHABLE if isinstance(error, DatabaseUnreachable) else REDIS_UNREACHABLE
            log.error(gone, accounts=len(taken), error=str(error))
            found.results |= {i: Result(Outcome.NOT_SENT, gone, seen[i]) for i in taken}
        finally:
            await self._leases.release(taken.keys() - {one.account.id for one in found.attempts})
        return found

    async def still_open(self, one: OpenAttempt) -> Account | None:
        """Read the row of an attempt again; None where the attempt is not the account's any more."""
        account = (await self._store.load([one.account.id])).get(one.account.id)
        return account if account is not None and account.claim_attempt == one.attempt.id else None

    async def let_go(self, one: OpenAttempt) -> None:
        """Release the lease of an attempt that was not committed."""
        await self._leases.release([one.account.id])

    async def note_refused(self, results: Mapping[str, Result], origin: Origin) -> None:
        """Write the history of accounts that are not refreshed; a plan that met another leaves no entry."""
        passed_on = {i for i, r in results.items() if r.reason == METHOD_NOT_RUN_HERE}
        entries = refused_entries(results, origin, but=passed_on, now=self._clock.now())
        if not entries or any(r.reason == DATABASE_UNREACHABLE for r in results.values()):
            return
        try:
            await self._store.note_attempts(entries, fold=origin.trigger is not Trigger.FORCED)
        except Exception as error:  # noqa: BLE001  (what has begun goes on, noted or not)
            log.error("refusals_not_noted", accounts=len(entries), error=str(error))

    async def _check(
        self,
        taken: Mapping[str, Sealed],
        seen: Mapping[str, int],
        origin: Origin,
        began: float,
        results: dict[str, Result],
    ) -> list[OpenAttempt]:
        """Load accounts, and prepare an attempt of each that is to be refreshed; write the results of the others."""
        found, paused = await self._store.load_for_refresh(list(taken))
        named = {account.client for account in found.values() if account.client is not None}
        clients = await self._store.clients(named) if named else {}
        ready: list[OpenAttempt] = []
        ids = iter(new_attempt_ids(self._clock.now(), len(taken)))
        for account_id, sealed in taken.items():
            account = found.get(account_id)
            refused = await self._refused(account, seen[account_id], origin, paused=account_id in paused)
            if account is None or refused:
                refused = refused or Skip(Outcome.SUPERSEDED, GENERATION_MOVED)
                generation = account.generation if account else seen[account_id]
                results[account_id] = Result(refused.outcome, refused.reason, generation)
                continue
            try:
                stashed = await self._recovery.answer_for(account, sealed)
            except CipherError as error:
                log.error("stash_unreadable", account=account_id, error=str(error))
                results[account_id] = Result(Outcome.NOT_SENT, STASH_UNREADABLE, account.generation)
                continue
            attempt = new_attempt(next(ids), account, origin, now=self._clock.now())
            attempt.lock_wait_ms = (_monotonic() - began) * 1000
            ready.append(self._requests.prepare(account, attempt, stashed, clients))
        return ready

    async def _refused(
        self, account: Account | None, seen: int, origin: Origin, *, paused: bool
    ) -> Skip | None:
        """Return why an account is not refreshed now; None where it is."""
        now, trigger = self._clock.now(), origin.trigger
        refused = skip_reason(account, seen=seen, trigger=trigger, now=now, paused=paused)
        if account is not None and refused is None and trigger is Trigger.REPORTED:
            latest = await self._store.latest_attempts(account.id, limit=REPORTS_LOOKED_AT)
            refused = report_refusal(latest, now=self._clock.now())
        return refused

    async def _admitted(self, ready: list[OpenAttempt], results: dict[str, Result]) -> list[OpenAttempt]:
        here: list[OpenAttempt] = []
        for one in ready:
            if one.request is None or one.request.refresh_method in self._methods:
                here.append(one)
            else:
                results[one.account.id] = Result(
                    Outcome.NOT_SENT, METHOD_NOT_RUN_HERE, one.account.generation
                )
        admitted = await self._admission.admit(here)
        for one, shortage in admitted.later:
            results[one.account.id] = Result(Outcome.NOT_SENT, shortage.value, one.account.generation)
        return list(admitted.now)

    async def _open(self, ready: list[OpenAttempt], results: dict[str, Result]) -> list[OpenAttempt]:
        if not ready:
            return []
        asked_at = _monotonic()
        ours = await self._store.open(
            [(one.attempt, one.account) for one in ready], claim_s=self._deadlines.claim_s
        )
        deadline = self._deadlines.end_of_call(asked_at=asked_at, now=_monotonic())
        for one in ready:
            one.deadline = deadline
            if one.account.id not in ours:
                results[one.account.id] = Result(Outcome.BUSY, ATTEMPT_OPEN, one.account.generation)
                self._admission.ended(one)
        return [one for one in ready if one.account.id in ours]


class Refresher:
    """Refreshes groups of accounts. With `slow_call_s`, calls that are slower end without their planned group."""

    def __init__(
        self,
        *,
        opener: AttemptOpener,
        callers: Mapping[RefreshMethod, Caller],
        outcomes: OutcomeBuilder,
        committer: Committer,
        admission: Admission,
        clock: Clock,
        slow_call_s: float | None = None,
    ) -> None:
        self._opener = opener
        self._callers = callers
        self._outcomes = outcomes
        self._committer = committer
        self._admission = admission
        self._clock = clock
        self._slow_call_s = slow_call_s
        self._calls: set[asyncio.Task[Result]] = set()

    async def refresh(self, accounts: Sequence[tuple[str, int]], origin: Origin) -> dict[str, Result]:
        """Refresh a group of accounts, each at the generation that the caller had seen.

        Never raises for what a provider, a store or an account does: each account has its result.
        """
        patience_s = self._slow_call_s if origin.trigger is Trigger.PLANNED else None
        results: dict[str, Result] = {}
        calls: list[tuple[OpenAttempt, asyncio.Task[Result]]] = []
        for start in range(0, len(accounts), AT_ONCE):
            if patience_s is not None:
                await self._room()
            opened, begun = await self._take(accounts[start : start + AT_ONCE], origin)
            results |= opened
            calls += begun
            if begun and start + AT_ONCE < len(accounts):
                await asyncio.wait([call for _, call in begun], timeout=NEXT_AFTER_S)
        return results | await self._ended(calls, patience_s)

    async def _take(
        self, accounts: Sequence[tuple[str, int]], origin: Origin
    ) -> tuple[dict[str, Result], list[tuple[OpenAttempt, asyncio.Task[Result]]]]:
        """Open attempts and begin their calls; return them, and the results of accounts that are not called."""
        opened = await self._opener.open(accounts, origin)
        if origin.trigger is Trigger.PLANNED:
            # The planner waits as long as a message may live for those it sent; these need not wait.
            dropped = [(i, r.generation) for i, r in opened.results.items() if r.reason in _DROPPED]
            self._committer.dropped(dropped)
        elif origin.trigger is Trigger.REPORTED:
            self._committer.republish([i for i, r in opened.results.items() if r.reason == GENERATION_MOVED])
        calls = self._begin(opened.attempts)
        await self._opener.note_refused(opened.results, origin)
        return opened.results, calls

    async def drain(self) -> None:
        """Wait until every call that is under way has ended, and its answer is stored or safe."""
        while self._calls:
            await asyncio.wait(self._calls)

    async def _room(self) -> None:
        while len(self._calls) >= CALLS_MAX:
            await asyncio.wait(self._calls, return_when=asyncio.FIRST_COMPLETED)

    def _begin(self, opened: Sequence[OpenAttempt]) -> list[tuple[OpenAttempt, asyncio.Task[Result]]]:
        """Start a task for each account: a group that is cancelled drops no answer."""
        calls = [(one, asyncio.create_task(self._finish(one))) for one in opened]
        for _, call in calls:
            self._calls.add(call)
            call.add_done_callback(self._calls.discard)
        return calls

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
        """Close what broke off as a failure. Where even that is refused, the account is free once its claim ends."""
        try:
            account = await self._opener.still_open(one)
            if account is not None:
                return await self._commit(*self._outcomes.broke_off(one, account, error))
        except Exception as other:  # noqa: BLE001  (it has been tried)
            log.error("attempt_left_open", account=one.account.id, attempt=one.attempt.id, error=repr(other))
        return Result(Outcome.RETRY, INTERNAL_ERROR, one.attempt.generation)

    async def _go_on(self, one: OpenAttempt) -> Result:
        """Call, judge, store, publish."""
        if one.stashed is not None:
            return await self._commit(one, self._outcomes.adopted(one, one.stashed))
        began = _monotonic()
        try:
            answer, judgement = await self._call(one)
        finally:
            self._admission.ended(one)
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
        if one.request is None or one.provider is None:
            reason, words = one.impossible or (PROVIDER_UNKNOWN, "")
            return Answer(fault_detail=words), Judgement(verdict=Verdict.MISCONFIGURED, reason=reason)
        answer = await call_provider(self._callers[one.request.refresh_method], one.request, one, self._clock)
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
        stored = await self._committer.commit(completed)
        outcome, reason = Outcome(attempt.outcome or Outcome.NOT_SENT), attempt.reason or ""
        if stored is None:
            result = Result(Outcome.RETRY, ANSWER_STASHED, attempt.generation)
        elif not stored.stored:
            result = Result(Outcome.SUPERSEDED, GENERATION_MOVED, attempt.generation)
        else:
            result = Result(outcome, reason, account.generation)
        log_attempt(one, result.outcome, result.reason, result.generation)
        return result


def _monotonic() -> float:
    return asyncio.get_running_loop().time()
