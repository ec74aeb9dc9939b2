"""A fleet of many accounts in simulated time: the real due times, backlog rules, rates, gates, verdicts and backoff.

No database, no Redis, no clock: what those do is a capacity here. One account stands for `scale` of them, so every rate (of
workers, providers, a gate's trickle) is divided by `scale`. What does not scale is stated in `Scenario`.
"""

from __future__ import annotations

import heapq
import random
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from models.answer import Answer
from models.rate_limit import WaitReason
from models.token import Secret, TokenResponse
from worker.policy.backlog import COLD_START, TAKEN_WITHIN_S, Begun, Queue
from worker.policy.backoff import consequence
from worker.policy.due import SessionPolicy, TokenTimes, due
from worker.policy.gate_signals import Signal, pause_s, record, signal
from worker.policy.gates import TRICKLE_PER_S, Ask, Failure, Gate, admit
from worker.policy.rate_limits import ASSUMED_REQUESTS_PER_S, slots, within
from worker.policy.verdicts.verdict import judge
from worker.scheduling.held_picks import RELEASED_MAX, RELEASED_SHARE
from worker.scheduling.planner import CLAIM_MAX

DAY_S: Final = 86_400
_CALL_S: Final = 45.0
#: Accounts in a full queue: REFRESHD_QUEUE_LIMIT messages of REFRESHD_GROUP_SIZE.
_QUEUED_MAX: Final = 10_000
_POLICY: Final = SessionPolicy()
_OK: Final = Answer(status=200, token=TokenResponse(access_token=Secret("t")))
_DOWN: Final = Answer(status=503)
_CAUSES: Final = {Signal.DOWN: WaitReason.DOWN, Signal.THROTTLED: WaitReason.THROTTLED}


@dataclass(frozen=True, slots=True)
class ProviderLoad:
    """A provider and its accounts."""

    name: str
    accounts: int
    lifetime_s: float
    #: Refreshes a second that it takes; None: any number.
    requests_per_s: float | None = None


@dataclass(frozen=True, slots=True)
class Disturbance:
    """Something that happens between two times, seconds since the day began."""

    name: str
    start_s: float
    end_s: float
    #: The provider that answers 503; empty: none.
    provider: str = ""
    #: The share of the workers that is there.
    workers_left: float = 1.0
    #: Nothing is planned, and nothing that was called is stored.
    stops_all: bool = False

    def lasts_at(self, now: float) -> bool:
        return self.start_s <= now < self.end_s


@dataclass(frozen=True, slots=True)
class Scenario:
    """What is simulated.

    Three accounts have to fail before a gate closes, however many one account stands for: a gate closes `scale` times
    later than it would, by seconds. A plan takes at least one account of a provider each second: rates below `scale` a second are too
    high. Both shrink with `scale`; `simulate --errors` shows by how much.
    """

    providers: tuple[ProviderLoad, ...]
    workers: int
    refreshes_per_worker_s: float
    scale: int
    disturbances: tuple[Disturbance, ...] = ()
    #: The share of calls that fail by themselves.
    noise: float = 0.001
    seed: int = 15
    day_s: int = DAY_S

    @property
    def accounts(self) -> int:
        return sum(one.accounts for one in self.providers)


@dataclass(slots=True)
class Grant:
    """One account, and what its row knows."""

    number: int
    provider: ProviderLoad
    ends_at: float
    due_at: float = 0.0
    failed_at: float | None = None
    failures: int = 0
    held: bool = False


@dataclass(slots=True)
class Hour:
    """What happened in an hour, in simulated accounts: `scale` times as much happens to all of them."""

    calls: int = 0
    failures: int = 0
    #: Begun so many seconds after they were due.
    lateness_s: list[float] = field(default_factory=list)
    #: Seconds that accounts were without a token that works, summed.
    without_token_s: float = 0.0
    #: The same, of accounts whose provider answers all day.
    without_token_spared_s: float = 0.0
    #: Calls of each second of the hour.
    per_second: dict[int, int] = field(default_factory=lambda: defaultdict(int))


class Simulation:
    """One day of a fleet. `run` gives the hours."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self._chance = random.Random(scenario.seed)
        self._now = 0.0
        self._due: list[tuple[float, int]] = []
        self._queue: list[tuple[float, int]] = []
        self._gates: dict[str, Gate] = defaultdict(Gate)
        self._held: dict[str, dict[int, Grant]] = defaultdict(dict)
        #: Parts of an account that a gate has brought back.
        self._released: dict[str, float] = defaultdict(float)
        self._begun: list[int] = []
        self._grants: list[Grant] = []
        self._down = {one.provider for one in scenario.disturbances if one.provider}
        self.hours = [Hour() for _ in range(-(-scenario.day_s // 3600))]
        for provider in scenario.providers:
            for _ in range(provider.accounts // scenario.scale):
                self._add(provider)

    def run(self, progress: Callable[[float], None] = lambda _share: None) -> list[Hour]:
        """Let the day go by, a second at a time, each of which is a plan."""
        for second in range(self._scenario.day_s):
            self._now = float(second)
            if not any(one.stops_all and one.lasts_at(self._now) for one in self._scenario.disturbances):
                self._plan()
                self._work()
            if second % 3600 == 0:
                progress(second / self._scenario.day_s)
        for grant in self._grants:
            self._was_without(grant, self._now)
        return self.hours

    def _add(self, provider: ProviderLoad) -> None:
        # Their tokens were issued at any time of the last lifetime.
        age_s = self._chance.uniform(0, provider.lifetime_s * 0.85)
        grant = Grant(len(self._grants), provider, provider.lifetime_s - age_s)
        self._grants.append(grant)
        self._schedule(grant, issued_at=-age_s)

    def _schedule(self, grant: Grant, *, issued_at: float) -> None:
        times = TokenTimes(issued_at=issued_at, expires_at=grant.ends_at)
        found = due(_POLICY, times, jitter=self._chance.random(), now=self._now)
        self._put(grant, found.at if found.at is not None else grant.ends_at)

    def _put(self, grant: Grant, at: float) -> None:
        grant.due_at = at
        heapq.heappush(self._due, (at, grant.number))

    @property
    def _hour(self) -> Hour:
        return self.hours[int(self._now) // 3600]

    def _plan(self) -> None:
        """Do what a plan does: held accounts first, then what is due, soonest to end first, at each provider's rate."""
        scale = self._scenario.scale
        for grant in self._picked():
            heapq.heappush(self._queue, (grant.ends_at, grant.number))
        begun = sum(self._begun)
        limit = max(_QUEUED_MAX // scale, 1)
        queue = Queue(len(self._queue), 1, limit, max(COLD_START // scale, 1))
        room = min(queue.room(Begun(begun, begun)), max(CLAIM_MAX // scale, 1))
        found: list[Grant] = []
        while self._due and self._due[0][0] <= self._now:
            at, number = heapq.heappop(self._due)
            grant = self._grants[number]
            if at == grant.due_at and not grant.held:
                found.append(grant)
        found.sort(key=lambda one: one.ends_at)
        for late in found[room:]:
            heapq.heappush(self._due, (late.due_at, late.number))
        for provider, grants in _by_provider(found[:room]):
            rate = None if provider.requests_per_s is None else provider.requests_per_s / scale
            taken, waiting = within(grants, rate, 1.0)
            for grant in taken:
                heapq.heappush(self._queue, (grant.ends_at, grant.number))
            times = slots(len(waiting), start=self._now + 1.0, requests_per_s=rate, jitter=0.0)
            for grant, when in zip(waiting, times, strict=True):
                heapq.heappush(self._due, (max(when, grant.due_at), grant.number))
                grant.due_at = max(when, grant.due_at)

    def _picked(self) -> Iterator[Grant]:
        for name, held in list(self._held.items()):
            gate = self._gates[name]
            if not gate.is_closed(self._now):
                begun_per_s = sum(self._begun) * self._scenario.scale / TAKEN_WITHIN_S
                most = min(max(begun_per_s * RELEASED_SHARE, ASSUMED_REQUESTS_PER_S), RELEASED_MAX)
                per_s = min(gate.released_per_s(self._now, ASSUMED_REQUESTS_PER_S), most)
                whole, self._released[name] = divmod(self._released[name] + per_s / self._scenario.scale, 1)
                for grant in heapq.nsmallest(int(whole), held.values(), key=lambda one: one.ends_at):
                    del held[grant.number]
                    grant.held = False
                    self._put(
                        grant, min(grant.due_at, self._now) if grant.failed_at is None else grant.due_at
                    )
            else:
                room = gate.trickle_left(self._now)
                healthy = [one for one in held.values() if one.failed_at is None]
                yield from heapq.nsmallest(room, healthy, key=lambda one: one.ends_at)
                if gate.probe_due(self._now):
                    yield from heapq.nsmallest(1, held.values(), key=lambda one: one.failed_at or 0.0)
            if not held:
                del self._held[name]

    def _work(self) -> None:
        """Let the workers that are there begin what they can in a second."""
        scenario = self._scenario
        left = min(
            (one.workers_left for one in scenario.disturbances if one.lasts_at(self._now)), default=1.0
        )
        capacity = scenario.workers * left * scenario.refreshes_per_worker_s / scenario.scale
        most = int(capacity) + (self._chance.random() < capacity % 1)
        begun = 0
        while self._queue and begun < most:
            _, number = heapq.heappop(self._queue)
            begun += self._ask(self._grants[number])
        self._begun = [*self._begun[-int(TAKEN_WITHIN_S) + 1 :], begun]

    def _ask(self, grant: Grant) -> bool:
        """Let a grant's refresh be called, unless its gate holds it."""
        name = grant.provider.name
        ask = Ask(
            account=str(grant.number),
            healthy=grant.failed_at is None,
            ends_at=grant.ends_at,
            picked=grant.held,
        )
        left, (held_by,) = admit({name: self._gates[name]}, [ask], now=self._now, call_s=_CALL_S)
        self._gates |= left
        if held_by is not None:
            grant.held = True
            self._held[name][grant.number] = grant
            return False
        if grant.held:
            grant.held = False
            self._held[name].pop(grant.number, None)
        self._call(grant)
        return True

    def _call(self, grant: Grant) -> None:
        hour, name = self._hour, grant.provider.name
        hour.calls += 1
        hour.per_second[int(self._now)] += 1
        hour.lateness_s.append(max(self._now - grant.due_at, 0.0))
        answer = _DOWN if self._is_refused(name) else _OK
        judgement = judge(answer, (), refreshed_before=True)
        found = signal(answer, judgement)
        failure = Failure(
            account=str(grant.number),
            cause=_CAUSES.get(found, WaitReason.DOWN),
            reason=judgement.reason,
            proven=True,
            now=self._now,
            provider=name,
            calls_per_s=(grant.provider.requests_per_s or TRICKLE_PER_S) / self._scenario.scale,
        )
        self._gates[name], _ = record(self._gates[name], Gate(), found, failure, pause_s(judgement))
        if found is Signal.SUCCEEDED:
            self._was_without(grant, self._now)
            grant.ends_at = self._now + grant.provider.lifetime_s
            grant.failed_at, grant.failures = None, 0
            self._schedule(grant, issued_at=self._now)
            return
        hour.failures += 1
        follows = consequence(
            judgement,
            failures=grant.failures,
            has_token=True,
            expires_at=grant.ends_at,
            jitter=self._chance.random(),
            now=self._now,
            max_s=3600.0,
        )
        grant.failed_at, grant.failures = self._now, grant.failures + follows.counts
        self._put(grant, follows.retry_at if follows.retry_at is not None else grant.ends_at)
        if self._gates[name].is_closed(self._now):
            grant.held = True
            self._held[name][grant.number] = grant

    def _is_refused(self, provider: str) -> bool:
        if any(one.provider == provider and one.lasts_at(self._now) for one in self._scenario.disturbances):
            return True
        return self._chance.random() < self._scenario.noise

    def _was_without(self, grant: Grant, until: float) -> None:
        """Add the time that a grant was without a token to the hours in which it was."""
        start = max(grant.ends_at, 0.0)
        while start < until:
            hour = int(start) // 3600
            end = min(until, (hour + 1) * 3600.0)
            found = self.hours[min(hour, len(self.hours) - 1)]
            found.without_token_s += end - start
            if grant.provider.name not in self._down:
                found.without_token_spared_s += end - start
            start = end


def _by_provider(grants: Sequence[Grant]) -> list[tuple[ProviderLoad, list[Grant]]]:
    found: dict[str, list[Grant]] = defaultdict(list)
    for grant in grants:
        found[grant.provider.name].append(grant)
    return [(members[0].provider, members) for members in found.values()]
