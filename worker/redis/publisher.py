"""The shelf: published tokens in Redis, where connectors read them. A view of SQL, monotonic on generation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from redis.asyncio import Redis
from redis.asyncio.client import Pipeline

from models.event import Event
from models.publication import Publication
from refreshd_reader.contract import Announcement, Keys, Token
from refreshd_reader.sealing import TokenSeal
from worker.redis.client import queue, run
from worker.redis.pending_answers import KEPT_S

#: The stream of events keeps about this many entries.
EVENTS_KEPT: Final = 100_000

#: An account's removal is remembered for so long: a process that has read the row before, and was stopped in between,
#: publishes what nobody would ever take away.
REMOVED_KEPT_S: Final = 3600

#: KEYS: token, account, lease, removal, and the answer where one is kept. ARGV: generation, end of the token in ms (0: none known), the announcements'
#: channel, the account, the lease's token (empty: no lease to end), the sealed answer (empty: none to keep), seconds to keep
#: it, how many of the names and values that follow are the account's; the others are the token's.
#: Writes unless Redis has seen a newer generation, or the removal of this one: then it gives what it has seen. The answer
#: stays by the rule of `_KEEP`.
_PUBLISH: Final = """
if ARGV[5] ~= '' and redis.call('GET', KEYS[3]) == ARGV[5] then redis.call('DEL', KEYS[3]) end
if ARGV[6] ~= '' and tonumber(redis.call('GET', KEYS[4]) or '-1') <= tonumber(ARGV[1]) then
  redis.call('SET', KEYS[5], ARGV[6], 'EX', ARGV[7])
end
local seen = tonumber(redis.call('HGET', KEYS[2], 'generation') or redis.call('GET', KEYS[4]) or '-1')
if seen > tonumber(ARGV[1]) then return seen end
redis.call('DEL', KEYS[1], KEYS[2])
local last = 8 + tonumber(ARGV[8])
redis.call('HSET', KEYS[2], unpack(ARGV, 9, last))
redis.call('HSET', KEYS[1], unpack(ARGV, last + 1))
local ends = tonumber(ARGV[2])
if ends > 0 then redis.call('PEXPIREAT', KEYS[1], ends) end
redis.call('PUBLISH', ARGV[3], ARGV[4] .. ' ' .. ARGV[1])
return false
"""
#: KEYS: account, removal. ARGV: generation, the account's fields. States change; the token on the shelf stays.
_STATE: Final = """
local seen = tonumber(redis.call('HGET', KEYS[1], 'generation') or redis.call('GET', KEYS[2]) or '-1')
if seen > tonumber(ARGV[1]) then return seen end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], unpack(ARGV, 2))
return false
"""

#: KEYS: the answer, removal. ARGV: its generation, the answer, seconds to keep it. Of a removed account nothing stays; where Redis
#: has seen a newer generation it does: the database is behind, and the row will be raised above.
_KEEP: Final = """
if tonumber(redis.call('GET', KEYS[2]) or '-1') > tonumber(ARGV[1]) then return end
redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
"""

#: KEYS: the stream. ARGV: how many entries it keeps, about; then of each entry how many names and values follow, and those.
_EVENTS: Final = """
local at = 2
while at <= #ARGV do
  local last = at + tonumber(ARGV[at])
  redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], '*', unpack(ARGV, at + 1, last))
  at = last + 1
end
"""


#: What is published without a lease: by reconcile, and by people's edits.
NO_LEASES: Final[Mapping[str, tuple[str, str]]] = MappingProxyType({})
#: What is published without an answer: states, and tokens whose refresh token is the one before.
NO_ANSWERS: Final[Mapping[str, str]] = MappingProxyType({})


class TokenPublisher:
    """Writes what connectors read.

    Args:
        redis: where to.
        keys: names of Redis' keys.
        seal: what access tokens are sealed with; None: they are written in clear.
        is_worker: events are added by a script, all in one command. The Redis user of the API may run none on their stream.
    """

    def __init__(
        self, redis: Redis, keys: Keys, seal: TokenSeal | None = None, *, is_worker: bool = False
    ) -> None:
        self._redis = redis
        self._keys = keys
        self._seal = seal
        self._publish = redis.register_script(_PUBLISH)
        self._state = redis.register_script(_STATE)
        self._keep = redis.register_script(_KEEP)
        self._may_run_events = is_worker
        self._events = redis.register_script(_EVENTS)

    async def put(
        self,
        publications: Sequence[Publication],
        events: Sequence[Event] = (),
        *,
        leases: Mapping[str, tuple[str, str]] = NO_LEASES,
        answers: Mapping[str, str] = NO_ANSWERS,
    ) -> dict[str, int]:
        """Publish in one round trip; each account is written as a whole or, where Redis has a newer one, not.

        Gives those that were not, and the generation that Redis has of each.

        Args:
            publications: what to write.
            events: what to add to the stream.
            leases: account -> key and token of a lease that ends as its token is published.
            answers: account -> the answer that was committed, sealed, which stays for `KEPT_S`.

        Raises:
            RedisError: Redis is away; SQL knows what it lacks.
        """
        if not publications and not events:
            return {}
        pipeline = self._redis.pipeline(transaction=False)
        for publication in publications:
            account, state, token = publication.account, publication.state, publication.token
            fields = _flat(state.to_hash())
            if token is None:
                keys = [self._keys.account(account), self._removal(account)]
                queue(pipeline, self._state, keys, [state.generation, *fields])
                continue
            lock, lease = leases.get(account) or (self._keys.lock(account), "")
            sealed = answers.get(account, "")
            keys = [self._keys.token(account), self._keys.account(account), lock, self._removal(account)]
            queue(
                pipeline,
                self._publish,
                [*keys, self._keys.answer(account)] if sealed else keys,
                [
                    state.generation,
                    _end_ms(token),
                    self._keys.announce,
                    account,
                    lease,
                    sealed,
                    KEPT_S,
                    len(fields),
                    *fields,
                    *_flat(self._fields(account, token)),
                ],
            )
        for publication in publications:
            if publication.token is None and (alone := answers.get(publication.account)):
                keys = [self._keys.answer(publication.account), self._removal(publication.account)]
                queue(pipeline, self._keep, keys, [publication.state.generation, alone, KEPT_S])
        self._queue_events(pipeline, events)
        replies = await run(pipeline)
        published = zip(publications, replies, strict=False)  # the replies of answers and events follow
        return {one.account: int(seen) for one, seen in published if seen is not None}

    def _queue_events(self, pipeline: Pipeline, events: Sequence[Event]) -> None:
        entries = [event.to_fields() for event in events]
        if self._may_run_events and entries:
            counted = [part for flat in map(_flat, entries) for part in (str(len(flat)), *flat)]
            queue(pipeline, self._events, [self._keys.events], [EVENTS_KEPT, *counted])
            return
        for entry in entries:
            pipeline.xadd(self._keys.events, dict[Any, Any](entry), maxlen=EVENTS_KEPT, approximate=True)

    def _fields(self, account: str, token: Token) -> dict[str, str]:
        return token.to_hash() if self._seal is None else self._seal.to_hash(account, token)

    def _removal(self, account: str) -> str:
        """Name the key that says from which generation on an account may be published that was removed."""
        return f"{self._keys.prefix}removed:{{{account}}}"

    async def drop(self, account: str, goes_on_at: int) -> None:
        """Take everything of an account away, token, state, lock and sealed answers, and have readers forget it.

        Args:
            account: its id. Its row is gone.
            goes_on_at: the generation at which an account of this id would go on; what is older is not published any more.
        """
        pipeline = self._redis.pipeline(transaction=False)
        # First: nothing comes back behind it.
        pipeline.set(self._removal(account), goes_on_at, px=REMOVED_KEPT_S * 1000)
        keys = self._keys
        for key in (keys.token, keys.account, keys.stash, keys.answer, keys.lock):
            pipeline.delete(key(account))
        pipeline.publish(self._keys.announce, Announcement(account, 0).to_text())
        await run(pipeline)


def _end_ms(token: Token) -> int:
    return 0 if token.expires_at is None else max(int(token.expires_at * 1000), 1)


def _flat(fields: Mapping[str, str]) -> list[str]:
    return [part for item in fields.items() for part in item]
