"""Step 3 of a refresh: a provider's budget, granted before anything is opened, and told what calls found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from redis.exceptions import RedisError

from models.answer import Answer, Judgement
from models.budget import Limits, Shortage
from models.provider import Provider
from models.token import Secret
from worker.closing import Opened
from worker.errors import DatabaseUnreachable
from worker.events import EventType, log
from worker.io.budget import Budgets
from worker.io.clock import Clock, draw_jitter
from worker.io.ledger import Ledger, Turn
from worker.io.offload import Offload
from worker.io.outages import Outages
from worker.io.shelf import Event, Shelf, publication
from worker.policy.backoff import RATE_LIMITED_DEFAULT_S, RETRY_AFTER_MAX_S
from worker.policy.budget import CLIENT_PAUSE_S, CLIENT_REASONS, budget_of, is_down, pauses_provider, slots


@dataclass(frozen=True, slots=True)
class Admitted:
    """Who may call now, and who has to wait for what."""

    now: tuple[Opened, ...]
    later: tuple[tuple[Opened, Shortage], ...]


class Admission:
    """Asks budgets for calls, and gives those who wait their turn."""

    def __init__(
        self,
        *,
        budgets: Budgets,
        clients: Budgets,
        ledger: Ledger,
        shelf: Shelf,
        clock: Clock,
        outages: Outages,
        offload: Offload,
        limits: Callable[[Provider | None], Limits],
    ) -> None:
        self._budgets = budgets
        self._clients = clients
        self._ledger = ledger
        self._shelf = shelf
        self._outages = outages
        self._clock = clock
        self._sql = offload
        self._limits = limits

    async def admit(self, ready: Sequence[Opened]) -> Admitted:
        """Ask each client's breaker and each provider's budget, for the accounts that end soonest first.

        What makes no call needs no budget.

        Raises:
            RedisError: Redis is away.
            DatabaseUnreachable: nobody could be given a turn.
        """
        calling: list[Opened] = []
        free: list[Opened] = []
        for one in sorted(ready, key=lambda one: one.account.expires_at or 0.0):
            one.budget, one.client = _budget_of(one), client_of(one)
            (calling if one.stashed is None and one.request is not None else free).append(one)
        refused = await self._by_client(calling)
        wanted: dict[str, list[Opened]] = {}
        for one in calling:
            if one.account.id not in refused:
                wanted.setdefault(one.budget, []).append(one)
        grants = await self._budgets.take_each(
            [
                (name, [one.attempt.id for one in group], self._limits(group[0].provider))
                for name, group in wanted.items()
            ]
        )
        for group, grant in zip(wanted.values(), grants, strict=True):
            free += group[: grant.granted]
            refused |= {one.account.id: (grant.shortage, grant.wait_s) for one in group[grant.granted :]}
        later = self._turns([one for one in calling if one.account.id in refused], refused)
        await self._postpone(later)
        return Admitted(tuple(free), tuple((one, why) for one, why, _ in later))

    async def close(self) -> None:
        """Wait until Redis has been told of calls that ended, and of providers and clients that are well."""
        await self._budgets.close()
        await self._clients.close()

    def ended(self, one: Opened) -> None:
        """Give a call back, made or not."""
        self._budgets.end(one.budget, one.attempt.id)

    async def told(self, one: Opened, answer: Answer, judgement: Judgement) -> bool:
        """What one account learns of its provider or client, every worker shall know.

        Gives whether the provider is down for everybody.
        """
        account, budget, client = one.account, one.budget, one.client
        heard = answer.status is not None or answer.fault is None
        shown = {"provider": account.provider, "client": account.client_id or ""}
        if client is not None and judgement.reason in CLIENT_REASONS:
            if (await self._clients.down(client, shown)).opened:
                breaker, client_id = self._clients.breaker_key(client), account.client_id or ""
                await self._outage(
                    breaker, EventType.MISCONFIGURED, account.provider, judgement.reason, client_id
                )
        elif client is not None and heard and not is_down(answer):
            await self._clients.up(client, shown)
        if pauses_provider(answer, judgement):
            asked_s = judgement.retry_after_s or RATE_LIMITED_DEFAULT_S
            await self._budgets.pause(budget, min(asked_s, RETRY_AFTER_MAX_S))
        elif is_down(answer):
            outage = await self._budgets.down(budget)
            if outage.opened:
                await self._outage(
                    self._budgets.breaker_key(budget), EventType.DEGRADED, budget, judgement.reason
                )
            return outage.is_open
        elif heard:
            await self._budgets.up(budget)
        return False

    async def _by_client(self, calling: Sequence[Opened]) -> dict[str, tuple[Shortage, float]]:
        """Tell whose client the provider refused lately, and for how many seconds; one account of each may probe."""
        clients: dict[str, list[Opened]] = {}
        for one in calling:
            if one.client is not None:
                clients.setdefault(one.client, []).append(one)
        refused: dict[str, tuple[Shortage, float]] = {}
        waits = await self._clients.gates(list(clients))
        for client, accounts in clients.items():
            wait_s = waits[client]
            if wait_s is not None:
                waiting = accounts[1:] if wait_s == 0 else accounts
                refused |= {
                    one.account.id: (Shortage.CLIENT_REFUSED, wait_s or CLIENT_PAUSE_S) for one in waiting
                }
        return refused

    def _turns(
        self, waiting: Sequence[Opened], why: dict[str, tuple[Shortage, float]]
    ) -> list[tuple[Opened, Shortage, float]]:
        """Spread those who wait for the same budget, each with its reason and its time."""
        budgets: dict[str, list[Opened]] = {}
        for one in waiting:
            budgets.setdefault(one.budget, []).append(one)
        turns: list[tuple[Opened, Shortage, float]] = []
        for group in budgets.values():
            rate = self._limits(group[0].provider).requests_per_s
            times = slots(len(group), start=self._clock.now(), requests_per_s=rate, jitter=draw_jitter())
            for one, at in zip(group, times, strict=True):
                shortage, wait_s = why[one.account.id]
                turns.append((one, shortage, at + wait_s))
        return turns

    async def _postpone(self, later: Sequence[tuple[Opened, Shortage, float]]) -> None:
        if not later:
            return
        turns = [Turn(one.account.id, one.account.generation, at, why.value) for one, why, at in later]
        events = await self._sql(self._ledger.postpone, turns)
        degraded = {event.account for event in events}
        now = self._clock.now()
        for one, why, _ in later:
            if one.account.id in degraded:
                one.account.degraded(why.value, now=now)
        changed = [one.account for one, _, _ in later if one.account.id in degraded]
        await self._shelf.put([publication(account, None, now=now) for account in changed], events)

    async def _outage(
        self, breaker: str, kind: EventType, provider: str, reason: str, client: str | None = None
    ) -> None:
        """A breaker opened: tell it, once for all of its accounts. Where that fails, its next opening tells it."""
        event = Event(type=kind.value, provider=provider, client=client, reason=reason, at=self._clock.now())
        try:
            if await self._sql(self._outages.began, breaker, event):
                await self._shelf.put([], [event])
        except (DatabaseUnreachable, RedisError, OSError) as error:
            log.warning("event_not_published", breaker=breaker, reason=reason, error=str(error))


def _budget_of(one: Opened) -> str:
    method = one.account.refresh_method if one.request is None else one.request.refresh_method
    return budget_of(one.account, method, one.request)


def client_of(one: Opened) -> str | None:
    """Tell clients apart by everything that proves them: a replaced secret makes another client."""
    request = one.request
    if request is None or request.client_id is None:
        return None
    secret = request.client_secret.reveal() if request.client_secret else ""
    return Secret(f"{one.account.provider}\0{request.client_id}\0{secret}").fingerprint()
