"""Plan: claim what is due, group it by provider, dispatch. Runs every second, and may run twice at once."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Final, Protocol

from msgspec import Struct

from models.rate_limit import Limits
from models.tables.account import RefreshMethod
from models.tables.attempt import Trigger
from models.tables.audit import Actor
from refreshd_reader.contract import PAUSED
from worker.broker.queues import CALLBACK, MESSAGE_EXPIRES_S, REFRESH
from worker.db.claims import DueAccount, Outlook
from worker.db.fleet_locks import FleetLock
from worker.db.planning.pauses import Pauses, Standing
from worker.db.planning.schedule import Schedule
from worker.log import log
from worker.policy.backlog import (
    CALLBACK_COLD_START,
    COLD_START,
    TAKEN_WITHIN_S,
    Begun,
    Queue,
    accounts_a_message,
)
from worker.policy.rate_limits import early_count, slots, within
from worker.policy.reasons.due import EARLY_REFRESH
from worker.policy.reasons.waiting import ANOTHER_PLAN, QUEUES_FULL
from worker.scheduling.held_picks import HeldPicks
from worker.scheduling.load_smoothing import LoadSmoothing

#: The lock of the plan, and the note that one plan leaves the next.
LOCK: Final = "plan"
#: A plan that takes longer than this was probably killed. The next one goes on; two at once would do no harm.
LOCK_S: Final = 5.0
#: The planner's claim outlives its message: a lost message is dispatched again, a waiting one not twice.
HOLD_S: Final = MESSAGE_EXPIRES_S + 15.0
#: A message that finds its queue empty is taken at once, and its accounts opened; after this long it is lost.
TAKEN_HOLD_S: Final = 20.0
#: Due accounts of a queue that one plan looks at: it stays short, and the next one is a second away.
CLAIM_MAX: Final = 5_000

#: The actor that ends a pause whose time is over.
BY_ITSELF: Final = "refreshd"


class Undeliverable(Exception):
    """The broker took no message; the next plan tries again."""


class Dispatch(Protocol):
    """Sends one refresh message. The composition root passes it: only `worker.app` knows Celery."""

    def __call__(self, accounts: Sequence[tuple[str, int]], *, trigger: Trigger, callback: bool) -> None:
        """Send a group.

        Raises:
            Undeliverable: the broker is away.
        """


class Planned(Struct, frozen=True):
    """What one plan did."""

    accounts: int = 0
    messages: int = 0
    held_back: str | None = None


class PlanSettings(Struct, frozen=True):
    """How a fleet is planned."""

    #: Seconds between two plans.
    interval_s: float
    #: Messages in the queue beyond which nothing is added to it.
    queue_limit: int
    #: Accounts in one message; more where many are due at once.
    group_size: int
    #: Some provider has a rate, so that crowds of due accounts are smoothed.
    rates_matter: bool = True


class Planner:
    """Finds due accounts and sends them to the workers.

    Args:
        schedule: finds and claims due accounts.
        pauses: what is not planned now.
        held: accounts that closed gates hold.
        dispatch: sends one message.
        queue_length: reads how many messages wait in a queue.
        limits: the limits of a provider, by name.
        settings: how the fleet is planned.
        lock: lets one process plan at a time.
    """

    def __init__(
        self,
        *,
        schedule: Schedule,
        pauses: Pauses,
        held: HeldPicks,
        dispatch: Dispatch,
        queue_length: Callable[[str], int],
        limits: Callable[[str], Limits],
        settings: PlanSettings,
        lock: FleetLock,
    ) -> None:
        self._schedule = schedule
        self._pauses = pauses
        self._held = held
        self._dispatch = dispatch
        self._queue_length = queue_length
        self._limits = limits
        self._settings = settings
        self._lock = lock
        self._smoothing = LoadSmoothing(schedule, lambda name: limits(name).requests_per_s is not None)

    def plan(self) -> Planned:
        """Plan once.

        Raises:
            DatabaseUnreachable, RedisUnreachable: nothing was claimed.
        """
        with self._lock.hold() as held:
            if held is None:
                return Planned(held_back=ANOTHER_PLAN)
            try:
                return self._plan()
            finally:
                held.note = self._smoothing.note

    def _plan(self) -> Planned:
        queues = {
            False: Queue(
                self._queue_length(REFRESH), self._settings.group_size, self._settings.queue_limit, COLD_START
            ),
            True: Queue(self._queue_length(CALLBACK), 1, CLAIM_MAX, CALLBACK_COLD_START),
        }
        pauses = self._pauses.standing()
        if pauses.everything:
            return Planned(held_back=PAUSED)
        if pauses.ended:
            self._pauses.bring_back(CLAIM_MAX, actor=Actor(BY_ITSELF, self._lock.holder))
        picked = self._held.pick(hold_s=TAKEN_HOLD_S)
        outlook = self._schedule.outlook(LOCK)
        claimed = {
            callback: self._claimed(queue, pauses, callback=callback)
            for callback, queue in queues.items()
            if outlook.due
        }
        due = picked + [one for found in claimed.values() for one in found or ()]
        due += self._early(due, pauses, outlook)
        groups = list(group(due, accounts_a_message(len(due), self._settings.group_size)))
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
        full = claimed.get(False, due) is None and not due
        return Planned(len(due), len(groups), QUEUES_FULL if full else None)

    def _claimed(self, queue: Queue, pauses: Standing, *, callback: bool) -> list[DueAccount] | None:
        """Claim what a queue has room for, in the order of need; None where it has no room.

        First what any fleet takes. Where that leaves something due, it is counted how much this one takes. Others come in
        the place of accounts that are paused, or that have to wait for their provider's rate.
        """
        found: list[DueAccount] = []
        taken: list[DueAccount] = []
        turns: list[tuple[str, float]] = []
        begun: Begun | None = None
        seen = 0
        while seen < CLAIM_MAX:
            wanted = min(queue.room(begun or Begun()) - len(taken), CLAIM_MAX - seen)
            if wanted > 0:
                claim = self._schedule.claim_due(
                    wanted,
                    hold_s=HOLD_S if callback or queue.waiting else TAKEN_HOLD_S,
                    callback=callback,
                    some_paused=pauses.anything,
                )
                seen += claim.seen
                found += claim.accounts
                taken, turns = self._paced(found)
                if claim.seen < wanted:
                    break
            elif begun is not None:
                break
            if begun is None:
                begun = Begun(*self._schedule.begun(TAKEN_WITHIN_S, callback=callback))
        if turns:
            self._schedule.postpone(turns)
        return taken if seen or queue.room(begun or Begun()) else None

    def _early(self, due: Sequence[DueAccount], pauses: Standing, outlook: Outlook) -> list[DueAccount]:
        """Begin early what a provider could not take in time: many tokens that end at once, at a small rate."""
        if not self._settings.rates_matter:
            return []
        taken = Counter(one.provider for one in due)
        early: list[DueAccount] = []
        for provider, crowd in self._smoothing.look(outlook).items():
            if provider in pauses.providers:
                continue
            count = early_count(
                crowd, self._limits(provider), interval_s=self._settings.interval_s, taken=taken[provider]
            )
            if count:
                early += self._schedule.claim_early(
                    provider,
                    count,
                    hold_s=HOLD_S,
                    reason=EARLY_REFRESH,
                    some_paused=pauses.anything,
                )
        return early

    def _paced(self, due: Sequence[DueAccount]) -> tuple[list[DueAccount], list[tuple[str, float]]]:
        """Return what each provider takes until the next plan, soonest to end first, and when the others are planned again.

        Accounts of a token URL of their own are not paced by their provider's name: workers know the host, and its budget.
        """
        now_ = [one for one in due if one.has_own_url]
        turns: list[tuple[str, float]] = []
        providers: dict[str, list[DueAccount]] = defaultdict(list)
        for one in due:
            if not one.has_own_url:
                providers[one.provider].append(one)
        for name, accounts in providers.items():
            rate = self._limits(name).requests_per_s
            taken, waiting = within(accounts, rate, self._settings.interval_s)
            now_ += taken
            times = slots(len(waiting), start=self._settings.interval_s, requests_per_s=rate, jitter=0.0)
            turns += [(one.id, after_s) for one, after_s in zip(waiting, times, strict=True)]
        return now_, turns


def group(due: Sequence[DueAccount], size: int) -> Iterator[tuple[list[DueAccount], bool]]:
    """Return accounts in groups of one provider, the most urgent group first: (accounts, callback) each.

    One that a callback refreshes travels alone. Accounts that fail by themselves come behind the others of their provider; a
    call that runs into its time-out holds no message (`worker.refresh.refresher.SLOW_CALL_S`).
    """
    groups: list[tuple[list[DueAccount], bool]] = []
    providers: dict[str, list[DueAccount]] = defaultdict(list)
    for one in sorted(due, key=lambda one: one.need):
        if one.refresh_method == RefreshMethod.CALLBACK:
            groups.append(([one], True))
        else:
            providers[one.provider].append(one)
    for accounts in providers.values():
        groups += [(accounts[start : start + size], False) for start in range(0, len(accounts), size)]
    return iter(sorted(groups, key=lambda one: one[0][0].need))
