"""Step 3 of a refresh: gates and rates decide which accounts may call now, and learn what calls found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from msgspec import Struct
from redis.exceptions import RedisError

from models.answer import Answer, Judgement
from models.event import Event, EventType
from models.providers import Provider
from models.rate_limit import Limits, WaitReason
from models.tables.account import HELD_LOOK_S
from models.tables.attempt import Trigger
from worker.clock import Clock, draw_jitter
from worker.db.refresh.async_stores import AsyncRefreshStore
from worker.db.refresh.completions import Postponement
from worker.errors import DatabaseUnreachable
from worker.log import log
from worker.policy.gate_signals import Signal, pause_s, record, signal
from worker.policy.gates import Ask, Failure, Gate, admit
from worker.policy.lane import Lane, lane_of
from worker.policy.rate_limits import slots
from worker.redis.gates import Decided, Gates, Granted, Pair, Take
from worker.redis.publisher import TokenPublisher
from worker.refresh.attempt import Hold, OpenAttempt

#: Triggers that pass gates and rates: a person asks, or a connector whose token was rejected.
_BY_HAND = frozenset({Trigger.FORCED, Trigger.REPORTED, Trigger.TEST})
_CAUSES = {
    Signal.DOWN: WaitReason.DOWN,
    Signal.REFUSED: WaitReason.REFUSED,
    Signal.THROTTLED: WaitReason.THROTTLED,
}
#: The event of a gate that closed for all accounts. A pause (429) is no outage.
_OUTAGES = {WaitReason.DOWN: EventType.DEGRADED, WaitReason.REFUSED: EventType.MISCONFIGURED}
#: While calls fail, the database is asked this often whether a closed gate is announced again (once a day).
TELL_LOOK_S = 600.0


class Admitted(Struct, frozen=True):
    """Accounts that may call now, and accounts that wait, each with its reason."""

    now: tuple[OpenAttempt, ...]
    later: tuple[tuple[OpenAttempt, WaitReason], ...]


class _Wait(Struct, frozen=True):
    one: OpenAttempt
    reason: WaitReason
    at: float
    gate: str | None = None


class Admission:
    """Asks gates and rates for calls, and postpones accounts that have to wait."""

    def __init__(
        self,
        *,
        gates: Gates,
        store: AsyncRefreshStore,
        publisher: TokenPublisher,
        clock: Clock,
        limits: Callable[[Provider | None], Limits],
        call_s: float,
    ) -> None:
        self._gates = gates
        self._store = store
        self._publisher = publisher
        self._clock = clock
        self._limits = limits
        self._call_s = call_s
        #: Gate -> when the database was asked last whether its closing was announced.
        self._told_at: dict[str, float] = {}

    async def admit(self, ready: Sequence[OpenAttempt]) -> Admitted:
        """Ask for a call for each account, soonest to end first. An account that makes no call is always admitted.

        Raises:
            RedisError: Redis is away.
            DatabaseUnreachable: no account was postponed.
        """
        free: list[OpenAttempt] = []
        lanes: dict[Lane, list[OpenAttempt]] = {}
        for one in sorted(ready, key=_need):
            method = one.account.refresh_method if one.request is None else one.request.refresh_method
            one.lane = lane_of(one.account, method, one.request)
            if one.stashed is not None or one.request is None:
                free.append(one)
            else:
                lanes.setdefault(one.lane, []).append(one)
        found = await self._gates.take(
            [
                Take(lane, self._limits(group[0].provider), partial(self._decide, lane, group))
                for lane, group in lanes.items()
            ]
        )
        waiting: list[_Wait] = []
        for group, taken in zip(lanes.values(), found, strict=True):
            going, later = self._split(group, taken)
            free += going
            waiting += later
        await self._postpone(waiting)
        return Admitted(tuple(free), tuple((wait.one, wait.reason) for wait in waiting))

    async def close(self) -> None:
        """Wait until Redis has calls that ended, and successes."""
        await self._gates.close()

    def ended(self, one: OpenAttempt) -> None:
        """Give back the room of a call, made or not."""
        if one.lane is not None:
            self._gates.ended(one.lane, one.attempt.id)

    async def record(self, one: OpenAttempt, answer: Answer, judgement: Judgement) -> Hold | None:
        """Record what a call found of its origin and client, for every worker; return the gate that holds the account now."""
        found, lane = signal(answer, judgement), one.lane
        if lane is None or found is Signal.NOTHING or one.request is None:
            return None
        if found is Signal.SUCCEEDED:
            self._gates.succeeded(lane, one.sent_at or self._clock.now())
            return None
        failure = Failure(
            account=one.account.id,
            cause=_CAUSES.get(found, WaitReason.DOWN),
            reason=judgement.reason,
            proven=one.account.succeeded_at is not None,
            now=self._clock.now(),
            client_id=lane.client_id,
            provider=_named(one, lane),
            calls_per_s=self._limits(one.provider).requests_per_s,
        )
        try:
            before, after = await self._gates.record(
                lane, lambda gates: record(*gates, found, failure, pause_s(judgement))
            )
        except (RedisError, OSError) as error:
            log.warning("gate_not_recorded", account=one.account.id, signal=found.value, error=str(error))
            return None
        for name, was, now in zip(lane.gates, before, after, strict=True):
            _log(name, was, now)
            if now.cause in _OUTAGES:
                await self._announce(name, now)
        return self._hold(lane, after)

    def _hold(self, lane: Lane, gates: Pair) -> Hold | None:
        now = self._clock.now()
        for name, gate in zip(lane.gates, gates, strict=True):
            if gate.cause is not None and gate.is_closed(now):
                return Hold(name, gate.cause, gate.until)
        return None

    def _decide(self, lane: Lane, group: Sequence[OpenAttempt], gates: Pair) -> Decided:
        now = self._clock.now()
        asks = [_ask(one) for one in group]
        left, held = admit(dict(zip(lane.gates, gates, strict=True)), asks, now=now, call_s=self._call_s)
        going = [one for one, gate in zip(group, held, strict=True) if gate is None]
        certain = [one.attempt.id for one in going if one.attempt.trigger in _BY_HAND]
        others = [one.attempt.id for one in going if one.attempt.trigger not in _BY_HAND]
        origin, client = lane.gates
        return Decided(
            (left[origin], left[client]),
            (*certain, *others),
            len(certain),
            {one.attempt.id: gate for one, gate in zip(group, held, strict=True) if gate is not None},
        )

    def _split(self, group: Sequence[OpenAttempt], taken: Granted) -> tuple[list[OpenAttempt], list[_Wait]]:
        """Return the accounts that go, and those that wait: held by a gate, or beyond the rate."""
        by_id = {one.attempt.id: one for one in group}
        going = [by_id[attempt] for attempt in taken.decided.attempts[: taken.granted]]
        crowded = [by_id[attempt] for attempt in taken.decided.attempts[taken.granted :]]
        now = self._clock.now()
        lane = group[0].lane
        names = () if lane is None else lane.gates
        causes = {name: gate.cause for name, gate in zip(names, taken.decided.gates, strict=True)}
        waits = [
            _Wait(by_id[attempt], causes[gate] or WaitReason.DOWN, now + HELD_LOOK_S, gate)
            for attempt, gate in taken.decided.held.items()
        ]
        rate = self._limits(group[0].provider).requests_per_s
        times = slots(len(crowded), start=now + taken.wait_s, requests_per_s=rate, jitter=draw_jitter())
        waits += [_Wait(one, WaitReason.SPENT, at) for one, at in zip(crowded, times, strict=True)]
        return going, waits

    async def _postpone(self, waiting: Sequence[_Wait]) -> None:
        if not waiting:
            return
        turns = [
            Postponement(
                wait.one.account.id, wait.one.account.generation, wait.at, wait.reason.value, wait.gate
            )
            for wait in waiting
        ]
        await self._store.postpone(turns)

    async def _announce(self, name: str, gate: Gate) -> None:
        """Announce a closed gate: once, and again where it lasts. Where that fails, the gate's next failure announces it."""
        now = self._clock.now()
        if now - self._told_at.get(name, 0.0) < TELL_LOOK_S or gate.cause is None:
            return
        client = gate.client_id if gate.cause is WaitReason.REFUSED else None
        event = Event(
            type=_OUTAGES[gate.cause].value, provider=gate.provider, client=client, reason=gate.reason, at=now
        )
        try:
            if await self._store.outage_began(name, event):
                await self._publisher.put([], [event])
            self._told_at[name] = now
        except (DatabaseUnreachable, RedisError, OSError) as error:
            log.warning("event_not_published", gate=name, reason=gate.reason, error=str(error))


def _log(name: str, was: Gate, now: Gate) -> None:
    if was.cause is not None and now.cause is None:
        log.info("gate_opened", gate=name, cause=was.cause.value, since=was.since)
    elif now.cause is not None and (was.cause, was.since, was.for_all) != (now.cause, now.since, now.for_all):
        log.warning(
            "gate_closed",
            gate=name,
            cause=now.cause.value,
            reason=now.reason,
            account=now.by,
            until=now.until,
            for_all=now.for_all,
        )


def _named(one: OpenAttempt, lane: Lane) -> str:
    """Return the provider's name for people: `PROVIDER@HOST[:PORT]` where its accounts have origins of their own."""
    shared = one.provider is None or one.provider.host is not None or "://" not in lane.origin
    return lane.provider if shared else f"{lane.provider}@{lane.origin.partition('://')[2]}"


def _need(one: OpenAttempt) -> tuple[bool, float]:
    """Return the sort key of accounts: soonest to end first, accounts that fail by themselves behind the others."""
    return one.account.failures > 0, one.account.expires_at or 0.0


def _ask(one: OpenAttempt) -> Ask:
    account = one.account
    return Ask(
        account=account.id,
        healthy=account.failed_at is None,
        proven=account.succeeded_at is not None,
        ends_at=account.expires_at,
        picked=account.held_by is not None,
        by_hand=one.attempt.trigger in _BY_HAND,
    )
