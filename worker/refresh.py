"""One refresh, from top to bottom: lease, load, open, call, judge, store, publish.

A group of accounts goes through the first steps together, a round trip each; then every account goes on alone,
and its answer is stored and published as soon as it is there. Whatever happens to the group, an answer that
arrived is stored.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from redis.exceptions import RedisError

from models.account import Account, RefreshMethod, Status, fingerprint
from models.answer import Answer, Fault, Judgement, Verdict
from models.attempt import Attempt, Outcome, Trigger, new_attempt_id
from models.provider import Provider
from models.refresh_request import RefreshRequest
from models.token import TokenSet
from worker.errors import CipherError, DatabaseUnreachable, KeyMissing
from worker.events import EventType, log
from worker.io.clock import Clock, draw_jitter
from worker.io.lease import Leases
from worker.io.ledger import Closing, Ledger
from worker.io.offload import Offload
from worker.io.shelf import Event, publication
from worker.io.stash import Stash, StashedAnswer
from worker.io.vault import Vault
from worker.policy.backoff import consequence
from worker.policy.due import due, session_policy, token_times
from worker.policy.gate import ATTEMPT_OPEN, GENERATION_MOVED, LEASE_HELD, Refusal, refusal
from worker.policy.rotation import Held, complete
from worker.policy.verdict import judge
from worker.settle import Settler, Settling

KEY_MISSING = "key_missing"
SEAL_BROKEN = "seal_broken"
STASH_UNREADABLE = "stash_unreadable"
STASH_ADOPTED = "stash_adopted"
KEPT_ANSWER_ADOPTED = "kept_answer_adopted"
METHOD_NOT_RUN_HERE = "refresh_method_not_run_by_this_worker"
PROVIDER_UNKNOWN = "provider_unknown"
REDIS_UNREACHABLE = "redis_unreachable"
DATABASE_UNREACHABLE = "database_unreachable"
ANSWER_STASHED = "answer_stashed_until_the_database_is_back"

#: An account whose attempt could not be sent is looked at again after this long.
NOT_SENT_RETRY_S = 5.0


@dataclass(frozen=True, slots=True)
class Result:
    """How the refresh of one account ended."""

    outcome: Outcome
    reason: str
    generation: int


class Caller(Protocol):
    """Makes one call: the provider over HTTP, or a callback."""

    async def call(
        self, request: RefreshRequest, *, deadline: float, on_send: Callable[[], None] | None = None
    ) -> Answer: ...


@dataclass(slots=True)
class _Opened:
    """An account on its way through the call."""

    account: Account
    attempt: Attempt
    provider: Provider | None
    stashed: StashedAnswer | None
    deadline: float
    was: str
    sent_at: float | None = field(default=None)


class Refresher:
    """Refreshes groups of accounts in this process' event loop."""

    def __init__(
        self,
        *,
        leases: Leases,
        ledger: Ledger,
        settler: Settler,
        stash: Stash,
        vault: Vault,
        callers: Mapping[RefreshMethod, Caller],
        providers: Callable[[Account], Provider | None],
        clock: Clock,
        offload: Offload,
        call_timeout_s: float,
        claim_s: float,
        backoff_max_s: float,
    ) -> None:
        self._leases = leases
        self._ledger = ledger
        self._settler = settler
        self._stash = stash
        self._vault = vault
        self._callers = callers
        self._providers = providers
        self._clock = clock
        self._sql = offload
        self._call_timeout_s = call_timeout_s
        self._claim_s = claim_s
        self._backoff_max_s = backoff_max_s

    async def refresh(
        self, accounts: Sequence[tuple[str, int]], *, trigger: Trigger, worker: str = "", task_id: str = ""
    ) -> dict[str, Result]:
        """Refresh a group of accounts, each at the generation that whoever asked had seen.

        Never raises for what a provider, a store or an account does: each account has its result.
        """
        seen = dict(accounts)
        began = self._monotonic()
        try:
            taken = await self._leases.acquire(list(seen))
        except (RedisError, OSError) as error:
            log.error("redis_unreachable", accounts=len(seen), error=str(error))
            return {i: Result(Outcome.NOT_SENT, REDIS_UNREACHABLE, seen[i]) for i in seen}
        results = {i: Result(Outcome.BUSY, LEASE_HELD, seen[i]) for i in seen if i not in taken}
        opened: list[_Opened] = []
        try:
            found = await self._sql(self._ledger.load, list(taken))
            ready: list[_Opened] = []
            for account_id, stash in taken.items():
                account = found.get(account_id)
                refused = refusal(account, seen=seen[account_id], trigger=trigger, now=self._clock.now())
                if account is None or refused:
                    refused = refused or Refusal(Outcome.SUPERSEDED, GENERATION_MOVED)
                    generation = account.generation if account else seen[account_id]
                    results[account_id] = Result(refused.outcome, refused.reason, generation)
                    continue
                try:
                    stashed = self._stash.open(account_id, stash) if stash else None
                except CipherError as error:
                    log.error("stash_unreadable", account=account_id, error=str(error))
                    results[account_id] = Result(Outcome.NOT_SENT, STASH_UNREADABLE, account.generation)
                    continue
                ready.append(self._prepare(account, stashed, trigger, worker, task_id, began))
            opened = await self._open(ready, results)
        except DatabaseUnreachable as error:
            log.error("database_unreachable", accounts=len(taken), error=str(error))
            results |= {i: Result(Outcome.NOT_SENT, DATABASE_UNREACHABLE, seen[i]) for i in taken}
            opened = []
        finally:
            going_on = {one.account.id for one in opened}
            await self._leases.release([i for i in taken if i not in going_on])
        await self._note_refused(results, trigger, worker, task_id)
        # Each account goes on in a task of its own: a group that is cancelled drops no answer.
        calls = [asyncio.create_task(self._finish(one)) for one in opened]
        for one, call in zip(opened, calls, strict=True):
            results[one.account.id] = await asyncio.shield(call)
        return results

    async def _open(self, ready: list[_Opened], results: dict[str, Result]) -> list[_Opened]:
        if not ready:
            return []
        deadline = self._monotonic() + self._call_timeout_s
        ours = await self._sql(
            self._ledger.open, [(one.attempt, one.account) for one in ready], claim_s=self._claim_s
        )
        for one in ready:
            one.deadline = deadline
            if one.account.id not in ours:
                results[one.account.id] = Result(Outcome.BUSY, ATTEMPT_OPEN, one.account.generation)
        return [one for one in ready if one.account.id in ours]

    async def _finish(self, one: _Opened) -> Result:
        """Call, judge, store, publish: the part that each account goes alone."""
        if one.stashed is not None and one.stashed.generation == one.account.generation:
            settling = self._succeeded(one, one.stashed.tokens, STASH_ADOPTED, stashed=True)
        else:
            began = self._monotonic()
            answer, judgement = await self._call(one)
            self._describe(one.attempt, answer, (self._monotonic() - began) * 1000)
            settling = self._judged(one, answer, judgement)
        return await self._settle(one, settling)

    async def _call(self, one: _Opened) -> tuple[Answer, Judgement]:
        if one.provider is None:
            return Answer(), Judgement(verdict=Verdict.MISCONFIGURED, reason=PROVIDER_UNKNOWN)
        try:
            request = self._vault.request(one.account, one.provider)
        except CipherError as error:
            reason = KEY_MISSING if isinstance(error, KeyMissing) else SEAL_BROKEN
            return Answer(fault_detail=str(error)), Judgement(verdict=Verdict.MISCONFIGURED, reason=reason)

        def on_send() -> None:
            one.sent_at = self._clock.now()

        answer = await self._callers[request.refresh_method].call(
            request, deadline=one.deadline, on_send=on_send
        )
        return answer, judge(answer, one.provider.error_rules)

    def _judged(self, one: _Opened, answer: Answer, judgement: Judgement) -> Settling:
        if answer.token is not None and judgement.verdict is Verdict.REFRESHED and one.provider is not None:
            tokens = complete(
                answer.token,
                Held(
                    refresh_token=self._vault.open(one.account, "refresh_token"),
                    token_type=one.account.token_type,
                    scope=one.account.scope,
                    refresh_token_expires_at=one.account.refresh_token_expires_at,
                    extra=json.loads(one.account.extra),
                ),
                issued_at=one.sent_at or self._clock.now(),
                default_lifetime_s=one.provider.default_lifetime_s,
                never_expires=one.provider.never_expires,
                refresh_token_lifetime_s=one.provider.refresh_token_lifetime_s,
            )
            return self._succeeded(one, tokens, judgement.reason)
        if answer.fault is Fault.NOT_SENT:
            return self._not_sent(one, judgement)
        if judgement.verdict is Verdict.REAUTHORIZE and one.account.kept_sealed is not None:
            kept = self._kept(one.account)
            if kept is not None:
                return self._succeeded(one, kept.tokens, KEPT_ANSWER_ADOPTED, due_now=True)
        return self._failed(one, judgement)

    def _kept(self, account: Account) -> StashedAnswer | None:
        """A success that once lost its race, unless it is what was just refused."""
        try:
            kept = self._stash.open(account.id, account.kept_sealed or "")
        except CipherError as error:
            log.error("kept_answer_unreadable", account=account.id, error=str(error))
            return None
        return kept if fingerprint(kept.tokens.refresh_token) != account.refresh_fp else None

    def _succeeded(
        self, one: _Opened, tokens: TokenSet, reason: str, *, stashed: bool = False, due_now: bool = False
    ) -> Settling:
        account, attempt, now = one.account, one.attempt, self._clock.now()
        sealed_answer = self._stash.seal(account.id, StashedAnswer(account.generation, tokens))
        jitter = draw_jitter()
        sealed = self._vault.seal_tokens(account.id, tokens)
        account.refreshed(sealed, next_refresh_at=None, due_reason="", jitter=jitter, now=now)
        if one.provider is not None:
            when = due(session_policy(account, one.provider), token_times(account), jitter=jitter, now=now)
            account.rescheduled(now if due_now else when.at, when.reason)
        attempt.outcome, attempt.reason = Outcome.REFRESHED, reason
        attempt.generation_after, attempt.received_fp = account.generation, sealed.refresh_fp
        attempt.next_refresh_at = account.next_refresh_at
        events = [EventType.REFRESHED]
        if one.was not in {Status.ACTIVE, Status.DISABLED}:
            events.append(EventType.RECOVERED)
        return Settling(
            Closing(account, attempt, success=True, sealed_answer=sealed_answer),
            publication(account, tokens.access_token, now=now),
            tuple(_event(kind, account, reason, now) for kind in events),
            stashed=stashed,
        )

    def _failed(self, one: _Opened, judgement: Judgement) -> Settling:
        account, attempt, now = one.account, one.attempt, self._clock.now()
        after = consequence(
            judgement,
            failures=account.failures,
            expires_at=account.expires_at,
            jitter=draw_jitter(),
            now=now,
            max_s=self._backoff_max_s,
        )
        planned = account.next_refresh_at is not None
        account.failed(
            status=after.status if account.refresh_enabled else Status.DISABLED,
            reason=judgement.reason,
            retry_at=after.retry_at if planned else None,
            counts=after.counts,
            now=now,
        )
        attempt.outcome, attempt.reason = Outcome(judgement.verdict), judgement.reason
        attempt.next_refresh_at = account.next_refresh_at
        events = [_event(EventType.FAILED, account, judgement.reason, now)]
        if account.status != one.was and account.status in set(EventType):
            events.append(_event(EventType(account.status), account, judgement.reason, now))
        return Settling(
            Closing(account, attempt, success=False), publication(account, None, now=now), tuple(events)
        )

    def _not_sent(self, one: _Opened, judgement: Judgement) -> Settling:
        one.account.given_back(retry_at=self._clock.now() + NOT_SENT_RETRY_S)
        one.attempt.outcome, one.attempt.reason = Outcome.NOT_SENT, judgement.reason
        return Settling(
            Closing(one.account, one.attempt, success=False),
            publication(one.account, None, now=self._clock.now()),
        )

    async def _settle(self, one: _Opened, settling: Settling) -> Result:
        account, attempt = one.account, one.attempt
        stored = await self._settler.settle(settling)
        outcome, reason = Outcome(attempt.outcome or Outcome.NOT_SENT), attempt.reason or ""
        if stored is None:
            result = Result(Outcome.RETRY, ANSWER_STASHED, attempt.generation)
        elif not stored.stored:
            result = Result(Outcome.SUPERSEDED, GENERATION_MOVED, attempt.generation)
        else:
            result = Result(outcome, reason, account.generation)
        log.info(
            "attempt",
            account=account.id,
            provider=account.provider,
            trigger=attempt.trigger,
            outcome=result.outcome.value,
            reason=result.reason,
            generation=result.generation,
            http_status=attempt.http_status,
            error=attempt.error,
            latency_ms=round(attempt.latency_ms or 0),
            next_refresh_at=attempt.next_refresh_at,
            task_id=attempt.task_id,
            attempt=attempt.id,
        )
        return result

    def _prepare(
        self,
        account: Account,
        stashed: StashedAnswer | None,
        trigger: Trigger,
        worker: str,
        task_id: str,
        began: float,
    ) -> _Opened:
        attempt = Attempt(
            id=new_attempt_id(self._clock.now()),
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
        return _Opened(account, attempt, self._providers(account), stashed, 0.0, account.status)

    async def _note_refused(
        self, results: dict[str, Result], trigger: Trigger, worker: str, task_id: str
    ) -> None:
        """Write down each refusal that a person could wonder about; a plan that met another is none."""
        now = self._clock.now()
        entries = [
            Attempt(
                id=new_attempt_id(now),
                account_id=account_id,
                trigger=trigger,
                opened_at=now,
                closed_at=now,
                worker=worker,
                task_id=task_id,
                generation=result.generation,
                config_version=0,
                outcome=result.outcome,
                reason=result.reason,
            )
            for account_id, result in results.items()
            if not (
                trigger is Trigger.PLANNED
                and result.outcome in {Outcome.SUPERSEDED, Outcome.NOT_DUE, Outcome.BUSY}
            )
        ]
        if not entries or any(r.reason == DATABASE_UNREACHABLE for r in results.values()):
            return
        try:
            await self._sql(self._ledger.note, entries, fold=trigger is not Trigger.FORCED)
        except DatabaseUnreachable as error:
            log.error("refusals_not_noted", accounts=len(entries), error=str(error))

    def _describe(self, attempt: Attempt, answer: Answer, latency_ms: float) -> None:
        attempt.latency_ms = latency_ms
        attempt.http_status = answer.status
        attempt.error = answer.error or (answer.fault.value if answer.fault else None)
        attempt.error_description = answer.error_description or answer.fault_detail
        attempt.provider_request_id = answer.provider_request_id
        attempt.request = answer.request
        attempt.output = answer.output

    @staticmethod
    def _monotonic() -> float:
        return asyncio.get_running_loop().time()


def _event(kind: EventType, account: Account, reason: str, now: float) -> Event:
    return Event(kind.value, account.id, account.generation, reason, now)
