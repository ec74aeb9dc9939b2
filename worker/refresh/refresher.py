"""One refresh, from top to bottom: lease, load, open, call, judge, store, publish.

A group of accounts goes through the first steps together, a round trip each; then every account goes on alone,
and its answer is stored and published as soon as it is there. Whatever happens to the group, an answer that
arrived is stored.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from redis.exceptions import RedisError

from models.account import Account, RefreshMethod
from models.answer import Answer, Judgement, Verdict
from models.attempt import AttemptEntry, Outcome, Trigger, new_attempt_ids
from models.providers import Provider
from worker.clock import Clock
from worker.crypto.sealer import AccountSealer
from worker.db.executor import Offload
from worker.db.history import History
from worker.db.refresh_store import RefreshStore
from worker.errors import CipherError, DatabaseUnreachable, KeyMissing, KnobsUnfit
from worker.log import log
from worker.policy.eligibility import Skip, skip_reason
from worker.policy.reasons.correction import (
    KEY_MISSING,
    PROVIDER_KNOBS_UNFIT,
    PROVIDER_UNKNOWN,
    SEAL_BROKEN,
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
from worker.redis.leases import Leases
from worker.redis.pending_answers import PendingAnswer
from worker.refresh.admission import Admission
from worker.refresh.caller import Caller, call_provider
from worker.refresh.committer import Committer, Completed
from worker.refresh.outcome import Hold, OpenAttempt, OutcomeBuilder, describe, log_attempt, refused_entry
from worker.refresh.recovery import AnswerRecovery

#: Reasons that say nothing of an account: a plan has to see it again.
_DROPPED = frozenset({LEASE_HELD, REDIS_UNREACHABLE, DATABASE_UNREACHABLE})
#: Outcomes that nobody wonders about where a plan met another.
_QUIET = frozenset({Outcome.SUPERSEDED, Outcome.NOT_DUE, Outcome.BUSY})
#: A call ends this long before its claim, at the latest: a busy event loop notices an end late.
CLAIM_GUARD_S = 5.0
#: A planned group is done after this long, seconds; calls that are slower go on without it, and hold no thread.
SLOW_CALL_S = 3.0
#: So many calls are under way in one process before it takes another planned group.
CALLS_MAX = 1_000
#: Entries of an account's history that a report is judged by.
REPORTS_LOOKED_AT = 20


@dataclass(frozen=True, slots=True)
class Result:
    """How the refresh of one account ended."""

    outcome: Outcome
    reason: str
    generation: int


class Refresher:
    """Refreshes groups of accounts in this process' event loop."""

    def __init__(
        self,
        *,
        leases: Leases,
        refresh_store: RefreshStore,
        history: History,
        outcomes: OutcomeBuilder,
        committer: Committer,
        recovery: AnswerRecovery,
        sealer: AccountSealer,
        callers: Mapping[RefreshMethod, Caller],
        providers: Callable[[Account], Provider | None],
        clock: Clock,
        offload: Offload,
        admission: Admission,
        call_timeout_s: float,
        claim_s: float,
        slow_call_s: float | None = None,
    ) -> None:
        """Make a refresher.

        With `slow_call_s` a planned group does not wait longer for its calls: they end by themselves.
        """
        self._leases = leases
        self._refresh_store = refresh_store
        self._history = history
        self._outcomes = outcomes
        self._committer = committer
        self._recovery = recovery
        self._sealer = sealer
        self._callers = callers
        self._providers = providers
        self._clock = clock
        self._sql = offload
        self._admission = admission
        self._call_timeout_s = call_timeout_s
        self._claim_s = claim_s
        self._slow_call_s = slow_call_s
        self._calls: set[asyncio.Task[Result]] = set()

    async def drain(self) -> None:
        """Wait until every call that is under way has ended, and its answer is stored or safe."""
        while self._calls:
            await asyncio.wait(self._calls)

    async def refresh(
        self, accounts: Sequence[tuple[str, int]], *, trigger: Trigger, worker: str = "", task_id: str = ""
    ) -> dict[str, Result]:
        """Refresh a group of accounts, each at the generation that whoever asked had seen.

        Never raises for what a provider, a store or an account does: each account has its result.
        """
        seen = dict(accounts)
        patience_s = self._slow_call_s if trigger is Trigger.PLANNED else None
        if patience_s is not None:
            await self._room()
        began = self._monotonic()
        try:
            taken = await self._leases.acquire(list(seen))
        except (RedisError, OSError) as error:
            log.error("redis_unreachable", accounts=len(seen), error=str(error))
            results = {i: Result(Outcome.NOT_SENT, REDIS_UNREACHABLE, seen[i]) for i in seen}
            self._look_again(results, trigger)
            return results
        results = {i: Result(Outcome.BUSY, LEASE_HELD, seen[i]) for i in seen if i not in taken}
        opened: list[OpenAttempt] = []
        try:
            found, paused = await self._sql(self._refresh_store.load_for_refresh, list(taken))
            ready: list[OpenAttempt] = []
            ids = iter(new_attempt_ids(self._clock.now(), len(taken)))
            for account_id, stash in taken.items():
                account = found.get(account_id)
                refused = skip_reason(
                    account,
                    seen=seen[account_id],
                    trigger=trigger,
                    now=self._clock.now(),
                    paused=account_id in paused,
                )
                if refused is None and trigger is Trigger.REPORTED:
                    latest = await self._sql(self._history.of, account_id, limit=REPORTS_LOOKED_AT)
                    refused = report_refusal(latest, now=self._clock.now())
                if account is None or refused:
                    refused = refused or Skip(Outcome.SUPERSEDED, GENERATION_MOVED)
                    generation = account.generation if account else seen[account_id]
                    results[account_id] = Result(refused.outcome, refused.reason, generation)
                    continue
                try:
                    waits = stash or account.kept_sealed
                    stashed = await self._recovery.answer_for(account, stash) if waits else None
                except CipherError as error:
                    log.error("stash_unreadable", account=account_id, error=str(error))
                    results[account_id] = Result(Outcome.NOT_SENT, STASH_UNREADABLE, account.generation)
                    continue
                ready.append(self._prepare(next(ids), account, stashed, trigger, worker, task_id, began))
            opened = await self._open(await self._admitted(ready, results), results)
        except (DatabaseUnreachable, RedisError, OSError) as error:
            gone = DATABASE_UNREACHABLE if isinstance(error, DatabaseUnreachable) else REDIS_UNREACHABLE
            log.error(gone, accounts=len(taken), error=str(error))
            results |= {i: Result(Outcome.NOT_SENT, gone, seen[i]) for i in taken}
            opened = []
        finally:
            await self._leases.release(taken.keys() - {one.account.id for one in opened})
        self._look_again(results, trigger)
        calls = self._begin(opened)
        await self._note_refused(results, trigger, worker, task_id)
        return results | await self._ended(calls, patience_s)

    async def _room(self) -> None:
        while len(self._calls) >= CALLS_MAX:
            await asyncio.wait(self._calls, return_when=asyncio.FIRST_COMPLETED)

    def _begin(self, opened: Sequence[OpenAttempt]) -> list[tuple[OpenAttempt, asyncio.Task[Result]]]:
        """Have each account go on in a task of its own: a group that is cancelled drops no answer."""
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

    async def _admitted(self, ready: list[OpenAttempt], results: dict[str, Result]) -> list[OpenAttempt]:
        here: list[OpenAttempt] = []
        for one in ready:
            if one.request is None or one.request.refresh_method in self._callers:
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
        asked_at = self._monotonic()
        ours = await self._sql(
            self._refresh_store.open, [(one.attempt, one.account) for one in ready], claim_s=self._claim_s
        )
        deadline = self._deadline(asked_at)
        for one in ready:
            one.deadline = deadline
            if one.account.id not in ours:
                results[one.account.id] = Result(Outcome.BUSY, ATTEMPT_OPEN, one.account.generation)
                self._admission.ended(one)
        return [one for one in ready if one.account.id in ours]

    def _deadline(self, asked_at: float) -> float:
        """Return when a call has to end. It has its whole time, or nothing is sent.

        A call cut short is worse than none: its refresh token may be spent. The claim began no earlier than
        `asked_at`; where a slow database ate so much of it that a call could outlast it, the time is over now.
        """
        now = self._monotonic()
        ends = now + self._call_timeout_s
        return ends if ends <= asked_at + self._claim_s - CLAIM_GUARD_S else now

    async def _finish(self, one: OpenAttempt) -> Result:
        """The part that each account goes alone. Where it breaks off, that is a failure of this account."""
        try:
            return await self._go_on(one)
        except Exception as error:  # noqa: BLE001  (nothing that nobody foresaw may hold an account)
            log.error("refresh_aborted", account=one.account.id, attempt=one.attempt.id, exc_info=error)
            result = await self._close_broken(one, error)
            await self._leases.release([one.account.id])
            return result

    async def _close_broken(self, one: OpenAttempt, error: Exception) -> Result:
        """Close what broke off as a failure. Where even that is refused, the account is free once its claim ends."""
        try:
            found = await self._sql(self._refresh_store.load, [one.account.id])
            account = found.get(one.account.id)
            if account is not None and account.claim_attempt == one.attempt.id:
                return await self._commit(*self._outcomes.broke_off(one, account, error))
        except Exception as other:  # noqa: BLE001  (it has been tried)
            log.error("attempt_left_open", account=one.account.id, attempt=one.attempt.id, error=repr(other))
        return Result(Outcome.RETRY, INTERNAL_ERROR, one.attempt.generation)

    async def _go_on(self, one: OpenAttempt) -> Result:
        """Call, judge, store, publish."""
        if one.stashed is not None:
            return await self._commit(one, self._outcomes.adopted(one, one.stashed))
        began = self._monotonic()
        try:
            answer, judgement = await self._call(one)
        finally:
            self._admission.ended(one)
        describe(one.attempt, answer, (self._monotonic() - began) * 1000)
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
        """Close a test: nothing is stored. A refresh token that replaced ours is put aside for the next refresh."""
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

    def _prepare(
        self,
        attempt_id: str,
        account: Account,
        stashed: PendingAnswer | None,
        trigger: Trigger,
        worker: str,
        task_id: str,
        began: float,
    ) -> OpenAttempt:
        attempt = AttemptEntry(
            id=attempt_id,
            account_id=account.id,
            trigger=trigger,
            opened_at=self._clock.now(),
            worker=worker,
            task_id=task_id,
            generation=account.generation,
            config_version=account.config_version,
            refresh_fp=account.refresh_fp,
            lock_wait_ms=(self._monotonic() - began) * 1000,
        )
        impossible = None
        try:
            provider = self._providers(account)
        except KnobsUnfit as error:
            provider, impossible = error.provider, (PROVIDER_KNOBS_UNFIT, str(error))
        one = OpenAttempt(account, attempt, provider, None, stashed, account.status, impossible=impossible)
        if one.provider is not None and impossible is None:
            try:
                method = RefreshMethod.CALLBACK if trigger is Trigger.TEST else account.refresh_method
                one.request = self._sealer.request(account, one.provider, RefreshMethod(method))
            except CipherError as error:
                one.impossible = (KEY_MISSING if isinstance(error, KeyMissing) else SEAL_BROKEN, str(error))
        return one

    def _look_again(self, results: Mapping[str, Result], trigger: Trigger) -> None:
        """The planner waits as long as a message may live for those it sent; these need not wait."""
        if trigger is Trigger.PLANNED:
            self._committer.dropped([(i, r.generation) for i, r in results.items() if r.reason in _DROPPED])

    async def _note_refused(
        self, results: dict[str, Result], trigger: Trigger, worker: str, task_id: str
    ) -> None:
        """Write down each refusal that a person could wonder about; a plan that met another is none."""
        now = self._clock.now()
        entries = [
            refused_entry(
                i, r.outcome, r.reason, r.generation, trigger=trigger, worker=worker, task_id=task_id, now=now
            )
            for i, r in results.items()
            if r.reason != METHOD_NOT_RUN_HERE  # it is passed on to a worker that runs it
            and not (trigger is Trigger.PLANNED and r.outcome in _QUIET)
        ]
        if not entries or any(r.reason == DATABASE_UNREACHABLE for r in results.values()):
            return
        try:
            await self._sql(self._history.note, entries, fold=trigger is not Trigger.FORCED)
        except Exception as error:  # noqa: BLE001  (what has begun goes on, noted or not)
            log.error("refusals_not_noted", accounts=len(entries), error=str(error))

    @staticmethod
    def _monotonic() -> float:
        return asyncio.get_running_loop().time()
