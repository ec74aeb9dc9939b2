"""The Redis lease: keeps two workers off one account. It saves calls; the claim in SQL is what decides."""

from __future__ import annotations

import asyncio
import itertools
import secrets
from collections.abc import Iterable, Mapping
from contextlib import suppress
from contextvars import Context
from typing import Final

from msgspec import Struct
from redis.asyncio import Redis
from redis.exceptions import RedisError

from refreshd_reader.contract import Keys
from worker.log import log
from worker.redis.client import queue, run

#: Renewed when this share of its time has passed, so that two renewals may fail before it ends.
RENEW_SHARE: Final = 1 / 3

#: Pause between two tries to return leases to a Redis that was away, seconds.
RELEASE_AGAIN_S: Final = 1.0

_RELEASE: Final = (
    "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"
)
#: KEYS: lease, stash, account, answer. ARGV: token, time in ms, the generation that the caller has seen.
#: Gives nothing where somebody else holds it (a client whose connection ended sends a command again that was carried out), else {stash or false}; where Redis has seen a newer generation than the caller,
#: {stash or false, that generation, the answer that was committed last or false}.
_ACQUIRE: Final = """
if not redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) and redis.call('GET', KEYS[1]) ~= ARGV[1] then return false end
local seen = tonumber(redis.call('HGET', KEYS[3], 'generation') or '-1')
if seen <= tonumber(ARGV[3]) then return {redis.call('GET', KEYS[2])} end
return {redis.call('GET', KEYS[2]), seen, redis.call('GET', KEYS[4])}
"""
_RENEW: Final = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end return 0"


class Sealed(Struct, frozen=True):
    """What Redis holds, sealed, of an account whose lease was taken."""

    #: An answer that waits for the database.
    stash: str | None = None
    #: The generation that Redis has seen, where it is newer than the caller's.
    generation: int | None = None
    #: The answer that was committed last, beside a `generation`, while it is kept.
    answer: str | None = None


#: Nothing is sealed there.
NOTHING: Final = Sealed()


class Leases:
    """The leases that this process holds. One renewal serves them all."""

    def __init__(self, redis: Redis, keys: Keys, *, lease_s: float, holder: str) -> None:
        self._redis = redis
        self._keys = keys
        self._lease_ms = int(lease_s * 1000)
        # Which process, and which of its leases: a process of the same name and id, after a restart, is another.
        self._holder = f"{holder}/{secrets.token_hex(8)}"
        self._numbers = itertools.count()
        self._held: dict[str, str] = {}
        self._acquire = redis.register_script(_ACQUIRE)
        self._release = redis.register_script(_RELEASE)
        self._renew = redis.register_script(_RENEW)
        self._renewer: asyncio.Task[None] | None = None
        #: Leases that Redis may still have though this process is done with them: account -> token, and their end.
        self._left: dict[str, tuple[str, float]] = {}
        self._releaser: asyncio.Task[None] | None = None

    async def acquire(self, seen: Mapping[str, int]) -> dict[str, Sealed]:
        """Take the leases that are free, in one round trip; returns the sealed answers of each one taken.

        Args:
            seen: account -> the generation that the caller has seen of it.

        Raises:
            RedisError: Redis is away, or refused every one: nothing is refreshed without it.
        """
        pipeline = self._redis.pipeline(transaction=False)
        tokens = [f"{self._holder}/{next(self._numbers)}" for _ in seen]
        names = (self._keys.lock, self._keys.stash, self._keys.account, self._keys.answer)
        for (account, generation), token in zip(seen.items(), tokens, strict=True):
            keys = [name(account) for name in names]
            queue(pipeline, self._acquire, keys, [token, self._lease_ms, generation])
        try:
            replies = await run(pipeline, some_may_fail=True)
        except (RedisError, OSError):
            # Some may have been taken, and the reply was lost.
            self._leave(zip(seen, tokens, strict=True))
            raise
        taken: dict[str, Sealed] = {}
        for account, token, reply in zip(seen, tokens, replies, strict=True):
            if isinstance(reply, RedisError):
                log.error("lease_refused", account=account, error=str(reply))
                self._leave([(account, token)])
            elif reply is not None:
                self._held[account] = token
                taken[account] = NOTHING if reply == [None] else Sealed(*reply)
        if taken and (self._renewer is None or self._renewer.done()):
            self._renewer = asyncio.create_task(self._keep_renewing(), context=Context())
        return taken

    def hand_over(self, account: str) -> tuple[str, str]:
        """Return the key and token of a lease to whoever ends it together with something else."""
        return self._keys.lock(account), self._held.pop(account, "")

    def take_back(self, leases: Mapping[str, tuple[str, str]]) -> None:
        """Hold leases again that were handed over in vain: account -> what `hand_over` returned."""
        self._held |= {account: token for account, (_, token) in leases.items() if token}

    async def release(self, accounts: Iterable[str]) -> None:
        """Return leases back, each only while it is still ours. Where Redis is away, they are returned once it is there.

        A server that takes over from another has its leases: they would keep everybody off until they end.
        """
        mine = [(account, token) for account in accounts if (token := self._held.pop(account, None))]
        if not mine:
            return
        try:
            await self._give_back(mine)
        except (RedisError, OSError) as error:
            log.warning("lease_release_failed", accounts=len(mine), error=str(error))
            self._leave(mine)

    async def close(self) -> None:
        """Return every lease back and stop renewing."""
        await self.release(list(self._held))
        tasks = [task for task in (self._renewer, self._releaser) if task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _give_back(self, leases: Iterable[tuple[str, str]]) -> None:
        pipeline = self._redis.pipeline(transaction=False)
        for account, token in leases:
            queue(pipeline, self._release, [self._keys.lock(account)], [token])
        await run(pipeline)

    def _leave(self, leases: Iterable[tuple[str, str]]) -> None:
        ends_at = asyncio.get_running_loop().time() + self._lease_ms / 1000
        self._left |= {account: (token, ends_at) for account, token in leases}
        if self._releaser is None or self._releaser.done():
            self._releaser = asyncio.create_task(self._keep_releasing(), context=Context())

    async def _keep_releasing(self) -> None:
        now = asyncio.get_running_loop().time
        while self._left:
            await asyncio.sleep(RELEASE_AGAIN_S)
            self._left = {account: one for account, one in self._left.items() if one[1] > now()}
            tried = dict(self._left)
            with suppress(RedisError, OSError):
                await self._give_back([(account, token) for account, (token, _) in tried.items()])
                self._left = {a: one for a, one in self._left.items() if tried.get(a) != one}

    async def _keep_renewing(self) -> None:
        while self._held:
            await asyncio.sleep(self._lease_ms / 1000 * RENEW_SHARE)
            held = list(self._held.items())
            try:
                pipeline = self._redis.pipeline(transaction=False)
                for account, token in held:
                    queue(pipeline, self._renew, [self._keys.lock(account)], [token, self._lease_ms])
                await run(pipeline)
            except (RedisError, OSError) as error:
                # The claim in SQL still keeps others off: a lease that ends early costs them one look.
                log.warning("leases_not_renewed", accounts=len(held), error=str(error))
