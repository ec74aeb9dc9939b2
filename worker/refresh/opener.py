"""Steps 1 to 4 of a refresh, which a group goes through together: lease, load, admit, open."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from typing import Final

from redis.exceptions import RedisError

from models.tables.account import Account, RefreshMethod
from models.tables.attempt import Outcome, Trigger, new_attempt_ids
from worker.clock import Clock
from worker.db.refresh.async_stores import AsyncRefreshStore
from worker.errors import CipherError, DatabaseUnreachable
from worker.log import log
from worker.monitoring.traces import step
from worker.policy.eligibility import Skip, skip_reason
from worker.policy.reasons.correction import STASH_UNREADABLE
from worker.policy.reasons.skipped import ATTEMPT_OPEN, GENERATION_MOVED, LEASE_HELD, METHOD_NOT_RUN_HERE
from worker.policy.reasons.waiting import DATABASE_UNREACHABLE, REDIS_UNREACHABLE
from worker.policy.rejected_tokens import report_refusal
from worker.redis.leases import Leases, Sealed
from worker.refresh.admission import Admission
from worker.refresh.attempt import (
    Deadlines,
    OpenAttempt,
    Opened,
    Origin,
    Result,
    new_attempt,
    refused_entries,
)
from worker.refresh.recovery import AnswerRecovery
from worker.refresh.requests import RequestBuilder

#: Entries of an account's history that a report is judged by.
REPORTS_LOOKED_AT: Final = 20


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
        ready: list[OpenAttempt] = []
        try:
            ready = await self._check(taken, seen, origin, began, found.results)
            found.attempts = await self._open(await self._admitted(ready, found.results), found.results)
        except (DatabaseUnreachable, RedisError, OSError) as error:
            gone = DATABASE_UNREACHABLE if isinstance(error, DatabaseUnreachable) else REDIS_UNREACHABLE
            log.error(gone, accounts=len(taken), error=str(error))
            found.results |= {i: Result(Outcome.NOT_SENT, gone, seen[i]) for i in taken}
            for one in ready:
                self._admission.ended(one)  # what it was granted before the error
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
        await self._requests.foresee(found.values())
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


def _monotonic() -> float:
    return asyncio.get_running_loop().time()
