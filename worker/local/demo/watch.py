"""Watching the demo as its users could: the keys and the stream of Redis, and what the provider counted."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

import httpx
from msgspec import Struct, field
from redis import Redis
from redis.exceptions import RedisError

from models.event import EventType
from refreshd_reader.contract import AccountState, Keys, Token
from worker.clock import wall_clock
from worker.local.demo.accounts import DemoAccount
from worker.redis.event_stream import EventFeed, SeenEvent

#: More than any terminal shows.
_EVENTS_KEPT: Final = 100
_PROVIDER_TIMEOUT_S: Final = 1.0
#: The provider is asked at every so manieth look.
_EVERY_PROVIDER_LOOK: Final = 4

#: Entries that stand for one attempt; the others tell of a status that changed with it.
ATTEMPTS: Final = frozenset({EventType.REFRESHED.value, EventType.FAILED.value})


class Seen(Struct, frozen=True):
    """One account as a connector sees it."""

    account: DemoAccount
    state: AccountState | None
    token: Token | None
    last: SeenEvent | None


class Picture(Struct):
    """Everything that the screen shows at one moment. Times are epoch seconds."""

    now: float
    accounts: Sequence[Seen] = ()
    events: Sequence[SeenEvent] = ()
    new_events: Sequence[SeenEvent] = ()
    refreshed: int = 0
    failed: int = 0
    reuses: int | None = None
    lost: int | None = None
    #: What can't be seen now, and why.
    trouble: list[str] = field(default_factory=list)


class Watcher:
    """Looks at Redis and at the provider. What does not answer is said, and looked at again.

    Args:
        accounts: whom to look at.
        redis: where their tokens are.
        keys: under which names.
        provider_url: of the local provider.
        from_now: leave out the events of a former run.
    """

    def __init__(
        self,
        accounts: Sequence[DemoAccount],
        *,
        redis: Redis,
        keys: Keys,
        provider_url: str,
        from_now: bool = False,
    ) -> None:
        self._accounts = accounts
        self._redis = redis
        self._keys = keys
        self._feed = EventFeed(redis, keys)
        if from_now:
            with suppress(RedisError, OSError):
                self._feed.skip_old()
        self._events: deque[SeenEvent] = deque(maxlen=_EVENTS_KEPT)
        self._last: dict[str, SeenEvent] = {}
        self._counts: Counter[str] = Counter()
        self._provider = httpx.Client(base_url=provider_url, timeout=_PROVIDER_TIMEOUT_S, trust_env=False)
        self._stats: dict[str, Any] | None = None
        self._looks = 0
        self._noted: list[SeenEvent] = []
        self._seen: list[Seen] = [Seen(account, None, None, None) for account in accounts]

    def look(self) -> Picture:
        """Look once."""
        picture = Picture(now=wall_clock())
        try:
            picture.new_events = self._new_events()
            self._seen = self._look_at_accounts()
        except (RedisError, OSError, ValueError, KeyError) as error:
            picture.trouble.append(f"Redis does not answer: {error}")
        if self._looks % _EVERY_PROVIDER_LOOK == 0:
            self._look_at_provider()
        self._looks += 1
        if self._stats is None:
            picture.trouble.append("the provider does not answer")
        else:
            picture.reuses = int(self._stats["reuses"])
            picture.lost = int(self._stats["revoked_by_reuse"])
        picture.accounts, picture.events = self._seen, list(self._events)
        picture.refreshed = self._counts[EventType.REFRESHED]
        picture.failed = self._counts[EventType.FAILED]
        return picture

    def note(self, event: SeenEvent) -> None:
        """Have something that happened elsewhere stand among the events."""
        self._noted.append(event)

    def revoke(self, account: DemoAccount) -> None:
        """Revoke a grant as its owner would.

        Raises:
            httpx.HTTPError: the provider is away.
        """
        self._provider.post(f"/admin/grants/{account.id}/revoke").raise_for_status()

    def close(self) -> None:
        self._provider.close()

    def _new_events(self) -> list[SeenEvent]:
        new, self._noted = [*self._noted, *self._feed.new()], []
        for event in new:
            self._counts[event.kind] += 1
            self._events.append(event)
            if event.kind in ATTEMPTS:
                self._last[event.about] = event
        return new

    def _look_at_accounts(self) -> list[Seen]:
        pipeline = self._redis.pipeline(transaction=False)
        for account in self._accounts:
            pipeline.hgetall(self._keys.account(account.id))
            pipeline.hgetall(self._keys.token(account.id))
        answers = iter(pipeline.execute())
        return [
            Seen(
                account,
                AccountState.from_hash(state) if (state := next(answers)) else None,
                Token.from_hash(token) if (token := next(answers)) else None,
                self._last.get(account.id),
            )
            for account in self._accounts
        ]

    def _look_at_provider(self) -> None:
        try:
            self._stats = self._provider.get("/stats").raise_for_status().json()
        except (httpx.HTTPError, ValueError):
            self._stats = None
