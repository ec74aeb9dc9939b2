"""Step 3 of a refresh: a provider's budget, granted before anything is opened, and told what calls found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from models.answer import Answer, Judgement
from models.budget import Limits, Shortage
from models.provider import Provider
from worker.closing import Opened
from worker.io.budget import Budgets
from worker.io.clock import Clock, draw_jitter
from worker.io.ledger import Ledger
from worker.io.offload import Offload
from worker.policy.backoff import RATE_LIMITED_DEFAULT_S
from worker.policy.budget import is_down, pauses_provider, slots


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
        ledger: Ledger,
        clock: Clock,
        offload: Offload,
        limits: Callable[[Provider | None], Limits],
    ) -> None:
        self._budgets = budgets
        self._ledger = ledger
        self._clock = clock
        self._sql = offload
        self._limits = limits

    async def admit(self, ready: Sequence[Opened]) -> Admitted:
        """Ask each provider's budget, for the accounts that end soonest first. What makes no call needs none.

        Raises:
            RedisError: Redis is away.
            DatabaseUnreachable: nobody could be given a turn.
        """
        calling: dict[str, list[Opened]] = {}
        free: list[Opened] = []
        for one in sorted(ready, key=lambda one: one.account.expires_at or 0.0):
            if one.stashed is None and one.provider is not None:
                calling.setdefault(one.account.provider, []).append(one)
            else:
                free.append(one)
        later: list[tuple[Opened, Shortage]] = []
        turns: list[tuple[str, int, float]] = []
        for name, group in calling.items():
            most = self._limits(group[0].provider)
            grant = await self._budgets.take(name, [one.attempt.id for one in group], most)
            free += group[: grant.granted]
            waiting = group[grant.granted :]
            later += [(one, grant.shortage) for one in waiting]
            start = self._clock.now() + grant.wait_s
            times = slots(len(waiting), start=start, requests_per_s=most.requests_per_s, jitter=draw_jitter())
            turns += [(w.account.id, w.account.generation, at) for w, at in zip(waiting, times, strict=True)]
        if turns:
            await self._sql(self._ledger.postpone, turns)
        return Admitted(tuple(free), tuple(later))

    def ended(self, one: Opened) -> None:
        """Give a call back, made or not."""
        self._budgets.end(one.account.provider, one.attempt.id)

    async def told(self, provider: str, answer: Answer, judgement: Judgement) -> None:
        """What one account learns of its provider, every worker shall know."""
        if pauses_provider(answer, judgement):
            await self._budgets.pause(provider, judgement.retry_after_s or RATE_LIMITED_DEFAULT_S)
        elif is_down(answer):
            await self._budgets.down(provider)
        elif answer.status is not None:
            await self._budgets.up(provider)
