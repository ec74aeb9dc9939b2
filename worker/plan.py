"""Plan: claim what is due, group it by provider, dispatch. Runs every second, and may run twice at once."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from models.account import RefreshMethod
from models.attempt import Trigger
from models.audit import Actor
from models.pause import PAUSED
from models.rate_limit import Limits
from worker.events import log
from worker.io.held_accounts import HeldAccounts
from worker.io.pauses import Pauses, Standing
from worker.io.schedule import DueAccount, Schedule
from worker.policy.gates import Gate
from worker.policy.rate_limits import ASSUMED_REQUESTS_PER_S, HORIZONS_S, ahead, slots, within
from worker.queues import MESSAGE_EXPIRES_S

DUTY: Final = "plan"
#: A plan that takes longer than this was probably killed. The next one goes on; two at once would do no harm.
DUTY_S: Final = 5.0
#: The planner's claim outlives its message: a lost message is dispatched again, a waiting one not twice.
HOLD_S: Final = MESSAGE_EXPIRES_S + 15.0
#: A message that finds its queue empty is taken at once, and its accounts opened; after this long it is lost.
TAKEN_HOLD_S: Final = 20.0
#: One plan claims no more accounts than this: it stays short, and the next one is a second away.
CLAIM_MAX: Final = 5_000

#: One plan sends accounts of no more gates than this; with more, each plan begins at another one.
GATES_MAX: Final = 200

#: The due reason of accounts that were begun early.
AHEAD_OF_A_CROWD: Final = "ahead_of_a_crowd"
ANOTHER_PLAN: Final = "another_plan_is_running"
QUEUES_FULL: Final = "queues_are_full"
#: Who ends a pause whose time is over.
BY_ITSELF: Final = "refreshd"


class Undeliverable(Exception):
    """The broker did not take a message; the next plan tries again."""


class Dispatch(Protocol):
    """Sends one refresh message. The composition root hands it in: only `worker.app` knows Celery."""

    def __call__(self, accounts: Sequence[tuple[str, int]], *, trigger: Trigger, callback: bool) -> None:
        """Send a group.

        Raises:
            Undeliverable: the broker is away.
        """


@dataclass(frozen=True, slots=True)
class Planned:
    """What one plan did."""

    accounts: int = 0
    messages: int = 0
    held_back: str | None = None


class Planner:
    """Finds due accounts and sends them to the workers."""

    def __init__(
        self,
        *,
        schedule: Schedule,
        pauses: Pauses,
        held: HeldAccounts,
        gates: Callable[[Sequence[str]], dict[str, Gate]],
        now: Callable[[], float],
        dispatch: Dispatch,
        queue_length: Callable[[], int],
        limits: Callable[[str], Limits],
        rates_matter: bool,
        interval_s: float,
        queue_limit: int,
        group_size: int,
        holder: str,
    ) -> None:
        self._schedule = schedule
        self._pauses = pauses
        self._held = held
        self._gates = gates
        self._now = now
        self._dispatch = dispatch
        self._queue_length = queue_length
        self._limits = limits
        self._rates_matter = rates_matter
        self._interval_s = interval_s
        self._queue_limit = queue_limit
        self._group_size = group_size
        self._holder = holder

    def plan(self) -> Planned:
        """Plan once.

        Raises:
            DatabaseUnreachable, RedisUnreachable: nothing was claimed.
        """
        if not self._schedule.take_duty(DUTY, holder=self._holder, for_s=DUTY_S):
            return Planned(held_back=ANOTHER_PLAN)
        try:
            return self._plan()
        finally:
            self._schedule.end_duty(DUTY, holder=self._holder)

    def _plan(self) -> Planned:
        waiting = self._queue_length()
        room = self._queue_limit - waiting
        if room <= 0:
            return Planned(held_back=QUEUES_FULL)
        pauses = self._pauses.standing()
        if pauses.everything:
            return Planned(held_back=PAUSED)
        if pauses.ended:
            self._pauses.bring_back(CLAIM_MAX, actor=Actor(BY_ITSELF, self._holder))
        picked = self._picked()
        found = self._schedule.claim_due(
            min(CLAIM_MAX, room * self._group_size),
            hold_s=HOLD_S if waiting else TAKEN_HOLD_S,
            callback_hold_s=HOLD_S,
            some_paused=pauses.anything,
        )
        due = picked + self._paced(found)
        due += self._ahead(due, pauses)
        groups = list(group(due, self._group_size))
        for sent, (accounts, callback) in enumerate(groups):
            try:
                self._dispatch(
                    [(one.id, one.generation) for one in accounts], trigger=Trigger.PLANNED, callback=callback
                )
            except Undeliverable as error:
                left = [one.id for rest, _ in groups[sent:] for one in rest]
                log.warning("not_dispatched", accounts=len(left), error=str(error))
                self._schedule.give_back(left)
                return Planned(len(due) - len(left), sent)
        return Planned(len(due), len(groups))

    def _picked(self) -> list[DueAccount]:
        """Claim whom closed gates let through next; bring the accounts of open gates back, soonest to end first."""
        names = self._held.gates()
        if not names:
            return []
        now, picked = self._now(), list[DueAccount]()
        first = int(now) % len(names) if len(names) > GATES_MAX else 0
        for name, gate in list(self._gates([*names[first:], *names[:first]][:GATES_MAX]).items()):
            if not gate.is_closed(now):
                self._held.release(name, max(round(ASSUMED_REQUESTS_PER_S * self._interval_s), 1))
                continue
            if room := gate.trickle_left(now):
                picked += self._held.claim_healthy(name, room, hold_s=TAKEN_HOLD_S)
            if gate.probe_due(now):
                picked += self._held.claim_probe(name, last_failed=gate.last_failed, hold_s=TAKEN_HOLD_S)
        return sorted(picked, key=lambda one: one.need)

    def _ahead(self, due: Sequence[DueAccount], pauses: Standing) -> list[DueAccount]:
        """Begin early what a provider could not take in time: many tokens that end at once, at a small rate."""
        if not self._rates_matter:
            return []
        taken = Counter(one.provider for one in due)
        early: list[DueAccount] = []
        for provider, crowd in self._schedule.crowds(HORIZONS_S).items():
            if provider in pauses.providers:
                continue
            count = ahead(crowd, self._limits(provider), interval_s=self._interval_s, taken=taken[provider])
            if count:
                early += self._schedule.claim_ahead(
                    provider,
                    count,
                    hold_s=HOLD_S,
                    reason=AHEAD_OF_A_CROWD,
                    some_paused=pauses.anything,
                )
        return early

    def _paced(self, due: Sequence[DueAccount]) -> list[DueAccount]:
        """Keep what each provider takes until the next plan, soonest to end first; the others get their turn."""
        providers: dict[str, list[DueAccount]] = defaultdict(list)
        for one in sorted(due, key=lambda one: one.need):
            providers[one.provider].append(one)
        now_: list[DueAccount] = []
        turns: list[tuple[str, float]] = []
        for name, accounts in providers.items():
            rate = self._limits(name).requests_per_s
            taken, waiting = within(accounts, rate, self._interval_s)
            now_ += taken
            times = slots(len(waiting), start=self._interval_s, requests_per_s=rate, jitter=0.0)
            turns += [(one.id, after_s) for one, after_s in zip(waiting, times, strict=True)]
        if turns:
            self._schedule.postpone(turns)
        return now_


def group(due: Sequence[DueAccount], size: int) -> Iterator[tuple[list[DueAccount], bool]]:
    """Group accounts by provider; one that a callback refreshes travels alone. Gives (accounts, callback)."""
    providers: dict[str, list[DueAccount]] = defaultdict(list)
    for one in due:
        if one.refresh_method == RefreshMethod.CALLBACK:
            yield [one], True
        else:
            providers[one.provider].append(one)
    for accounts in providers.values():
        for start in range(0, len(accounts), size):
            yield accounts[start : start + size], False
