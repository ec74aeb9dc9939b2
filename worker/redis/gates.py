"""What all workers share of origins and clients, in Redis: gates, rates, calls in flight.

`worker/policy/gates.py` decides; this keeps. A gate is one value, replaced by compare-and-set: whoever decided on an
older one decides again. Gates, rate and calls in flight of one lane are taken in one step and one round trip
(`gates.lua`); its keys share the origin as their hash tag, so that the script works on a cluster too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextvars import Context
from importlib.resources import files
from typing import Any, Final

from msgspec import Struct, field
from redis import Redis
from redis.asyncio import Redis as AsyncRedis
from redis.exceptions import RedisError

from models.rate_limit import Limits
from worker.log import log
from worker.policy.gates import Gate
from worker.policy.lane import Lane, origin_of_gate
from worker.redis.client import answered, queue, run

#: A closed gate outlives the longest pause (a day): one that is forgotten counts as open.
_CLOSED_KEEP_MS: Final = 172_800_000
#: Evidence without a success is remembered for this long.
_OPEN_KEEP_MS: Final = 3_600_000
#: Calls in flight of an origin are forgotten this long after its last call.
_FLIGHT_KEEP_MS: Final = 7_200_000
#: A rate below one a second still lets one call through; above, a second's worth may go at once.
_BURST_S: Final = 1.0
#: Ends of calls are gathered for this long before Redis is told.
_TELL_AFTER_S: Final = 0.02
#: A success of a lane that is known to be well is worth a word this often.
_WELL_EVERY_S: Final = 1.0
#: So many gates are remembered as they were seen last, and so many lanes as well.
_REMEMBERED: Final = 10_000
#: A gate that others change each time is left after so many tries.
_TRIES: Final = 8

#: From both gates as they are to both as they shall be, and to something that whoever asks needs of them.
Pair = tuple[Gate, Gate]


class Take(Struct):
    """What one lane wants: `decide` says which attempts may go, given the gates as they are now."""

    lane: Lane
    limits: Limits
    decide: Callable[[Pair], Decided]


class Decided(Struct, frozen=True):
    """What the policy made of a lane."""

    gates: Pair
    #: Ids of attempts, those first that the rate may not hold back.
    attempts: Sequence[str]
    certain: int = 0
    #: Id of an attempt -> the gate that holds it.
    held: Mapping[str, str] = field(default_factory=dict)


class Granted(Struct, frozen=True):
    """How many of the attempts were granted; for the rest: how long until the rate has room, seconds."""

    decided: Decided
    granted: int
    wait_s: float


class _Told(Struct):
    ended: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    #: Lane -> when the call that succeeded last was sent.
    well: dict[Lane, float] = field(default_factory=dict)


class Gates:
    """Keeps the state of gates and deals out calls."""

    def __init__(self, redis: AsyncRedis, prefix: str, *, call_s: float) -> None:
        self._redis = redis
        self._prefix = prefix
        self._call_ms = int(call_s * 1000)
        self._script = redis.register_script(files("worker.redis").joinpath("gates.lua").read_text("utf-8"))
        #: Gate -> its value as it was seen last; one that is not in it is taken for open.
        self._seen: dict[str, str] = {}
        self._well_at: dict[Lane, float] = {}
        self._told = _Told()
        self._teller: asyncio.Task[None] | None = None

    async def take(self, asked: Sequence[Take]) -> list[Granted]:
        """Return what each lane may call, in one round trip where no gate has changed since it was seen.

        Raises:
            RedisError: Redis is away: nothing is called without it.
        """
        done: dict[int, Granted] = {}
        left = list(range(len(asked)))
        for _ in range(_TRIES):
            if not left:
                break
            decided = {nth: asked[nth].decide(self._gates(asked[nth].lane)) for nth in left}
            pipeline = self._redis.pipeline(transaction=False)
            for nth, one in decided.items():
                self._queue(pipeline, asked[nth].lane, one, asked[nth].limits)
            replies = await run(pipeline)
            left = []
            for (nth, one), reply in zip(decided.items(), replies, strict=True):
                if self._note(asked[nth].lane, one.gates, reply):
                    done[nth] = Granted(one, int(reply[0]), int(reply[1]) / 1000)
                else:
                    left.append(nth)
        for nth in left:
            done[nth] = Granted(asked[nth].decide(self._gates(asked[nth].lane)), 0, _WELL_EVERY_S)
        return [done[nth] for nth in range(len(asked))]

    async def record(self, lane: Lane, change: Callable[[Pair], Pair]) -> tuple[Pair, Pair]:
        """Change the gates of a lane; return them as they were and as they are.

        Raises:
            RedisError: Redis is away.
        """
        for _ in range(_TRIES):
            before = self._gates(lane)
            after = change(before)
            pipeline = self._redis.pipeline(transaction=False)
            self._queue(pipeline, lane, Decided(after, ()), Limits(None, 0))
            (reply,) = await run(pipeline)
            if self._note(lane, after, reply):
                return before, after
        return before, before

    def succeeded(self, lane: Lane, sent_at: float) -> None:
        """Note a success of a call that was sent then. Redis is told a moment later; where all is well, once a second."""
        now = asyncio.get_running_loop().time()
        known_open = not any(self._seen.get(name) for name in lane.gates)
        if known_open and now - self._well_at.get(lane, -_WELL_EVERY_S) < _WELL_EVERY_S:
            return
        if len(self._well_at) >= _REMEMBERED:
            self._well_at.clear()
        self._well_at[lane] = now
        self._told.well[lane] = sent_at
        self._tell_soon()

    def ended(self, lane: Lane, attempt: str) -> None:
        """Note the end of a call; Redis is told of many at once, a moment later."""
        self._told.ended.setdefault((lane.origin, lane.provider), []).append(attempt)
        self._tell_soon()

    async def close(self) -> None:
        """Wait until Redis has been told."""
        if self._teller is not None:
            await asyncio.wait([self._teller])

    def _gates(self, lane: Lane) -> Pair:
        origin, client = lane.gates
        return Gate.load(self._seen.get(origin, "")), Gate.load(self._seen.get(client, ""))

    def _queue(self, pipeline: Any, lane: Lane, decided: Decided, limits: Limits) -> None:
        seen = [self._seen.get(name, "") for name in lane.gates]
        gap_us = 0 if limits.requests_per_s is None else 1_000_000 / limits.requests_per_s
        args: list[str | int] = [
            *seen,
            *(gate.dump() for gate in decided.gates),
            *(_OPEN_KEEP_MS if gate.cause is None else _CLOSED_KEEP_MS for gate in decided.gates),
            round(gap_us),
            round(max(gap_us, _BURST_S * 1_000_000)),
            limits.max_in_flight,
            self._call_ms,
            _FLIGHT_KEEP_MS,
            decided.certain,
            *decided.attempts,
        ]
        queue(pipeline, self._script, self._keys(lane), args)

    def _note(self, lane: Lane, wanted: Pair, reply: Sequence[Any]) -> bool:
        """Remember the gates as Redis has them; return whether they were what was decided on."""
        taken = int(reply[0]) >= 0
        self._remember(
            lane, [gate.dump() for gate in wanted] if taken else [str(value) for value in reply[2:4]]
        )
        return taken

    def _remember(self, lane: Lane, values: Sequence[str]) -> None:
        if len(self._seen) >= _REMEMBERED:
            self._seen.clear()
        for name, value in zip(lane.gates, values, strict=True):
            if value:
                self._seen[name] = value
            else:
                self._seen.pop(name, None)

    def _keys(self, lane: Lane) -> list[str]:
        gates = [gate_key(self._prefix, name) for name in lane.gates]
        return [*gates, *(f"{gates[0]}:{part}:{lane.provider}" for part in ("rate", "in_flight"))]

    def _tell_soon(self) -> None:
        if self._teller is None or self._teller.done():
            self._teller = asyncio.create_task(self._tell(), context=Context())

    async def _tell(self) -> None:
        while self._told.well or self._told.ended:  # more may come while Redis is told of the last ones
            await asyncio.sleep(_TELL_AFTER_S)
            told, self._told = self._told, _Told()
            await self._tell_of(told)

    async def _tell_of(self, told: _Told) -> None:
        lanes = list(told.well)
        try:
            pipeline = self._redis.pipeline(transaction=False)
            for lane in lanes:
                pipeline.mget([gate_key(self._prefix, name) for name in lane.gates])
            for (origin, provider), attempts in told.ended.items():
                pipeline.zrem(f"{gate_key(self._prefix, origin)}:in_flight:{provider}", *attempts)
            replies = await run(pipeline)
            for nth, lane in enumerate(lanes):
                if any(found := replies[nth]):
                    self._remember(lane, [value or "" for value in found])
                    await self._open(lane, told.well[lane])
        except (RedisError, OSError) as error:
            # Calls that nobody ended end by themselves when their time is over; the next success opens the gate.
            log.warning("permit_release_failed", error=str(error))

    async def _open(self, lane: Lane, sent_at: float) -> None:
        before, after = await self.record(
            lane, lambda gates: (gates[0].succeeded(sent_at), gates[1].succeeded(sent_at))
        )
        for name, was, now in zip(lane.gates, before, after, strict=True):
            if was.cause is not None and now.cause is None:
                log.info("gate_opened", gate=name, cause=was.cause.value, since=was.since)


def gate_key(prefix: str, name: str) -> str:
    """Return the key in Redis of a gate: the origin is its hash tag."""
    origin = origin_of_gate(name)
    return f"{prefix}gate:{{{origin}}}{name.removeprefix(origin)}"


def read_gates(redis: Redis, prefix: str, names: Sequence[str]) -> dict[str, Gate]:
    """Read gates by name; one that nobody keeps is open.

    Raises:
        RedisError: Redis is away.
    """
    if not names:
        return {}
    pipeline: Any = redis.pipeline(transaction=False)
    for name in names:
        pipeline.get(gate_key(prefix, name))
    return _loaded(names, pipeline.execute())


async def read_gates_async(redis: AsyncRedis, prefix: str, names: Sequence[str]) -> dict[str, Gate]:
    """Read gates by name, as `read_gates` does."""
    if not names:
        return {}
    pipeline = redis.pipeline(transaction=False)
    for name in names:
        pipeline.get(gate_key(prefix, name))
    return _loaded(names, await answered(pipeline.execute()))


def _loaded(names: Sequence[str], values: Sequence[Any]) -> dict[str, Gate]:
    return {name: Gate.load(value or "") for name, value in zip(names, values, strict=True)}
