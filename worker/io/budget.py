"""The budget of each provider, shared by all workers through Redis: rate, calls in flight, pause, breaker.

One script call decides for a whole group. Keys of a provider share a hash tag, so the script works on a
cluster too. Times are Redis' own clock: what is shared there is measured there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextvars import Context
from typing import Final

from redis.asyncio import Redis
from redis.exceptions import RedisError

from models.budget import Breaker, Grant, Limits, Outage, Shortage, is_of_host
from worker.events import log
from worker.io.redis import answered, queue, run

#: So many hosts that were left alone are remembered, the latest ones; a pause lasts for a day at most.
HOSTS_KEPT: Final = 1_000
_HOSTS_KEPT_S: Final = 172_800
#: Idle budgets are forgotten after this long.
_KEEP_MS: Final = 7_200_000
#: A rate below one a second still lets one call through; above, a second's worth may go at once.
_BURST_S: Final = 1.0
#: Ends of calls are gathered for this long before Redis is told.
_TELL_AFTER_S: Final = 0.02
#: A provider that is up is worth a word this often.
_UP_EVERY_S: Final = 1.0
#: Of so many budgets it is remembered when that was.
_UP_REMEMBERED: Final = 10_000

#: Who has to wait for another's probe asks again after this long: more often would be a storm where probes hang.
_PROBE_LOOK_MS: Final = 5_000

#: KEYS: rate, in flight, pause, breaker. ARGV: gap between calls in us (0: no rate), burst in us, most in
#: flight, time a call may take in ms, time to keep in ms, then the attempts. Gives {granted, wait in ms, why}.
#: The rate is GCRA: one number, the time at which the budget is whole again.
_TAKE: Final = """
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local asked = #ARGV - 5
local pause = redis.call('PTTL', KEYS[3])
if pause > 0 then return {0, pause, 'pause'} end
local most = asked
if redis.call('HGET', KEYS[4], 'open') then
  local until_ms = tonumber(redis.call('HGET', KEYS[4], 'until') or '0')
  if now / 1000 < until_ms then
    local wait = math.ceil(until_ms - now / 1000)
    -- A probe is under way: it may be back in a moment, whatever time it has.
    if until_ms > tonumber(redis.call('HGET', KEYS[4], 'again') or '0') then wait = math.min(wait, PROBE_LOOK_MS) end
    return {0, wait, 'breaker'}
  end
  -- Half open: one probe, and nobody else until it has come back or its time is over.
  redis.call('HSET', KEYS[4], 'until', string.format('%d', now / 1000 + tonumber(ARGV[4])))
  most = 1
end
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now / 1000)
local free = tonumber(ARGV[3]) - redis.call('ZCARD', KEYS[2])
local granted = math.min(most, math.max(free, 0))
local wait = 0
local gap = tonumber(ARGV[1])
if gap > 0 and granted > 0 then
  local burst = tonumber(ARGV[2])
  local whole = math.max(tonumber(redis.call('GET', KEYS[1]) or '0'), now)
  local left = math.floor((now + burst - whole) / gap)
  granted = math.min(granted, math.max(left, 0))
  whole = whole + granted * gap
  if granted > 0 then
    redis.call('SET', KEYS[1], string.format('%d', whole), 'PX', math.ceil((whole - now) / 1000) + 1000)
  end
  wait = math.max(0, math.ceil((whole + gap - burst - now) / 1000))
end
local ends = string.format('%d', now / 1000 + tonumber(ARGV[4]))
for i = 1, granted do redis.call('ZADD', KEYS[2], ends, ARGV[5 + i]) end
if granted > 0 then redis.call('PEXPIRE', KEYS[2], ARGV[5]) end
return {granted, wait, 'budget'}
""".replace("PROBE_LOOK_MS", str(_PROBE_LOOK_MS))
#: KEYS: breaker. ARGV: threshold, time to keep in ms. Gives {failures, times opened} after one more failure.
_FAIL: Final = """
local failures = redis.call('HINCRBY', KEYS[1], 'failures', 1)
local opened = 0
if failures >= tonumber(ARGV[1]) then
  local t = redis.call('TIME')
  local now = t[1] * 1000 + math.floor(t[2] / 1000)
  local again = tonumber(redis.call('HGET', KEYS[1], 'again') or '0')
  if now >= again then
    opened = redis.call('HINCRBY', KEYS[1], 'open', 1)
    local pause = math.min(tonumber(ARGV[3]) * 2 ^ math.min(opened - 1, 30), tonumber(ARGV[4]))
    redis.call('HSET', KEYS[1], 'until', string.format('%d', now + pause), 'again', string.format('%d', now + pause))
  end
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return {failures, opened}
"""

#: KEYS: breaker. ARGV: time a call may take in ms. Gives -1 where it is closed, 0 for the one probe, else ms to wait.
_GATE: Final = """
if not redis.call('HGET', KEYS[1], 'open') then return -1 end
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local until_ms = tonumber(redis.call('HGET', KEYS[1], 'until') or '0')
if now < until_ms then return until_ms - now end
redis.call('HSET', KEYS[1], 'until', string.format('%d', now + tonumber(ARGV[1])))
return 0
"""

_SHORTAGES: Final = {"pause": Shortage.PAUSED, "breaker": Shortage.BREAKER_OPEN, "budget": Shortage.SPENT}


class Budgets:
    """Deals out calls to providers."""

    def __init__(self, redis: Redis, prefix: str, *, call_s: float, breaker: Breaker | None = None) -> None:
        self._redis = redis
        self._prefix = prefix
        self._breaker = breaker or Breaker()
        self._call_ms = int(call_s * 1000)
        #: A breaker is remembered for longer than its longest pause: one that is forgotten counts as closed.
        self._keep_ms = max(_KEEP_MS, round(self._breaker.pause_max_s * 2000))
        self._take = redis.register_script(_TAKE)
        self._fail = redis.register_script(_FAIL)
        self._gate = redis.register_script(_GATE)
        self._failing: set[str] = set()
        self._up_at: dict[str, float] = {}
        self._ended: dict[str, list[str]] = {}
        #: Budgets whose breakers are to be closed, and whose they are in the log's words.
        self._well: dict[str, Mapping[str, str]] = {}
        self._teller: asyncio.Task[None] | None = None

    async def take(self, provider: str, attempts: Sequence[str], limits: Limits) -> Grant:
        """Ask one budget for a call for each attempt; the first ones are granted.

        Raises:
            RedisError: Redis is away: nothing is called without it.
        """
        (grant,) = await self.take_each([(provider, attempts, limits)])
        return grant

    async def take_each(self, asked: Sequence[tuple[str, Sequence[str], Limits]]) -> list[Grant]:
        """Ask several budgets, each for its attempts, in one round trip: a group has as many as its tenants have hosts.

        Raises:
            RedisError: Redis is away: nothing is called without it.
        """
        if not asked:
            return []
        pipeline = self._redis.pipeline(transaction=False)
        for provider, attempts, limits in asked:
            gap_us = 0 if limits.requests_per_s is None else 1_000_000 / limits.requests_per_s
            burst_us = max(gap_us, _BURST_S * 1_000_000)
            keys = [self._key(provider, part) for part in ("rate", "in_flight", "pause", "breaker")]
            numbers = [round(gap_us), round(burst_us), limits.max_in_flight, self._call_ms, _KEEP_MS]
            queue(pipeline, self._take, keys, [*numbers, *attempts])
        return [
            Grant(int(granted), int(wait_ms) / 1000, _SHORTAGES[why])
            for granted, wait_ms, why in await run(pipeline)
        ]

    def end(self, provider: str, attempt: str) -> None:
        """Note the end of a call; Redis is told of many at once, a moment later."""
        self._ended.setdefault(provider, []).append(attempt)
        self._tell_soon()

    def _tell_soon(self) -> None:
        if self._teller is None or self._teller.done():
            self._teller = asyncio.create_task(self._tell(), context=Context())

    async def _tell(self) -> None:
        await asyncio.sleep(_TELL_AFTER_S)
        well, self._well = self._well, {}
        ended, self._ended = self._ended, {}
        try:
            pipeline = self._redis.pipeline(transaction=False)
            for provider in well:
                pipeline.delete(self._key(provider, "breaker"))
            for provider, attempts in ended.items():
                pipeline.zrem(self._key(provider, "in_flight"), *attempts)
            for named, closed in zip(well.values(), await run(pipeline), strict=False):
                if closed:
                    log.info("breaker_closed", **named)
        except (RedisError, OSError) as error:
            # Calls that nobody ended end by themselves when their time is over.
            log.warning("budget_not_given_back", error=str(error))

    async def close(self) -> None:
        """Wait until Redis has been told."""
        if self._teller is not None:
            await asyncio.wait([self._teller])

    async def pause(self, provider: str, seconds: float) -> None:
        """Leave a provider alone, all workers at once; a longer pause that runs already stays."""
        key, pause_ms = self._key(provider, "pause"), max(int(seconds * 1000), 1)
        try:
            if int(await answered(self._redis.pttl(key))) < pause_ms:
                await answered(self._redis.set(key, "1", px=pause_ms))
                await self._note_host(provider)
                log.warning("provider_paused", provider=provider, seconds=round(seconds, 1))
        except (RedisError, OSError) as error:
            log.warning("provider_not_paused", provider=provider, error=str(error))

    async def gates(self, names: Sequence[str]) -> dict[str, float | None]:
        """Ask breakers alone: None where one is closed, 0 for the one probe, else the seconds to wait.

        Raises:
            RedisError: Redis is away.
        """
        pipeline = self._redis.pipeline(transaction=False)
        for name in names:
            await self._gate(keys=[self._key(name, "breaker")], args=[self._call_ms], client=pipeline)
        waits = await run(pipeline) if names else []
        return {name: None if ms < 0 else ms / 1000 for name, ms in zip(names, waits, strict=True)}

    async def down(self, provider: str, shown: Mapping[str, str] | None = None) -> Outage:
        """Note a call that found the provider down; enough in a row open its breaker.

        Args:
            provider: whose breaker.
            shown: whose it is in the log's words, where the name is none for people (a client's fingerprint).
        """
        self._failing.add(provider)
        self._well.pop(provider, None)
        try:
            failures, opened = await answered(
                self._fail(
                    keys=[self._key(provider, "breaker")],
                    args=[
                        self._breaker.threshold,
                        self._keep_ms,
                        round(self._breaker.pause_s * 1000),
                        round(self._breaker.pause_max_s * 1000),
                    ],
                )
            )
        except (RedisError, OSError) as error:
            log.warning("breaker_not_told", provider=provider, error=str(error))
            return Outage(is_open=False, opened=0)
        if opened:
            await self._note_host(provider)
            named = shown or {"provider": provider}
            log.error("breaker_open", **named, failures=int(failures), times=int(opened))
        return Outage(is_open=int(failures) >= self._breaker.threshold, opened=int(opened))

    async def up(self, provider: str, shown: Mapping[str, str] | None = None) -> None:
        """Note a call that found the provider up: its breaker closes. Redis is told once a second at most."""
        now = asyncio.get_running_loop().time()
        if provider not in self._failing:
            if now - self._up_at.get(provider, -_UP_EVERY_S) >= _UP_EVERY_S:
                self._remember_up(provider, now)
                self._well[provider] = shown or {"provider": provider}
                self._tell_soon()
            return
        self._remember_up(provider, now)
        self._failing.discard(provider)
        try:
            if await answered(self._redis.delete(self._key(provider, "breaker"))):
                log.info("breaker_closed", **(shown or {"provider": provider}))
        except (RedisError, OSError) as error:
            log.warning("breaker_not_told", provider=provider, error=str(error))

    def _remember_up(self, provider: str, now: float) -> None:
        if len(self._up_at) >= _UP_REMEMBERED:
            self._up_at.clear()
        self._up_at[provider] = now

    async def _note_host(self, provider: str) -> None:
        """Have whoever looks at the fleet find a host that is left alone: nothing else lists hosts."""
        if not is_of_host(provider):
            return
        try:
            pipeline = self._redis.pipeline(transaction=False)
            key = hosts_key(self._prefix)
            pipeline.lrem(key, 0, provider)
            pipeline.lpush(key, provider)
            pipeline.ltrim(key, 0, HOSTS_KEPT - 1)
            pipeline.expire(key, _HOSTS_KEPT_S)
            await run(pipeline)
        except (RedisError, OSError) as error:
            log.warning("host_not_noted", provider=provider, error=str(error))

    def breaker_key(self, provider: str) -> str:
        """Give the key in Redis of a provider's breaker: what is open has the field `open`."""
        return self._key(provider, "breaker")

    def _key(self, provider: str, part: str) -> str:
        return budget_key(self._prefix, provider, part)


def budget_key(prefix: str, provider: str, part: str) -> str:
    """Name the key of one part of a provider's budget: `rate`, `in_flight`, `pause` or `breaker`."""
    return f"{prefix}budget:{{{provider}}}:{part}"


def hosts_key(prefix: str) -> str:
    """Name the key that remembers which hosts' budgets were left alone lately."""
    return f"{prefix}budget:hosts"
