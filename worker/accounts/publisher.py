"""Publishing for commands: they have no event loop of their own, and Redis may be away while they do their work."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

from redis.asyncio import Redis
from redis.exceptions import RedisError

from models.event import Event
from models.publication import Publication
from refreshd_reader.contract import Keys
from refreshd_reader.sealing import TokenSeal
from worker.db.publication.store import PublicationStore
from worker.errors import RedisUnreachable, SettingsError
from worker.redis.client import answered, connect_async
from worker.redis.publisher import TokenPublisher

T = TypeVar("T")

NO_REDIS = "no Redis is configured or has run here yet"


class RunsOnLoop(Protocol):
    """Runs something on another thread's event loop, and waits for it here."""

    def __call__(self, work: Coroutine[Any, Any, T]) -> T: ...


class CommandPublisher:
    """The shelf, for one command.

    Once Redis did not answer it is not asked again: the workers' reconciler publishes what SQL says that it lacks.

    Args:
        redis_url: gives the URL, or raises `SettingsError` where there is none.
        keys: names of Redis' keys.
        store: where it is noted which generations Redis has.
        seal: what access tokens are sealed with; None: they are published in clear.
        loop: runs on an event loop that is there already, as a worker's is, and the client of Redis that belongs to it; None:
            a loop and a connection are opened, which takes some milliseconds.
    """

    def __init__(
        self,
        *,
        redis_url: Callable[[], str],
        keys: Keys,
        store: PublicationStore,
        seal: TokenSeal | None = None,
        loop: tuple[RunsOnLoop, Redis] | None = None,
    ) -> None:
        self._loop = loop
        self._redis_url = redis_url
        self._keys = keys
        self._seal = seal
        self._store = store
        self._runner = asyncio.Runner()
        self._redis: Redis | None = None
        #: Why something was not published; "" where everything was.
        self.unreachable = ""
        self.unpublished = 0
        #: Accounts of which Redis has a newer generation than the database, and keeps it.
        self.newer: dict[str, int] = {}

    def __enter__(self) -> Self:
        if self._loop is not None:
            self._redis = self._loop[1]
            return self
        self._runner.__enter__()
        try:
            self._redis = connect_async(self._redis_url())
        except SettingsError:
            self.unreachable = NO_REDIS
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._loop is not None:
            return
        if self._redis is not None:
            self._runner.run(self._redis.aclose())
        self._runner.__exit__(kind, error, trace)

    def put(self, publications: Sequence[Publication], events: Sequence[Event] = ()) -> None:
        """Publish, and note it. Where Redis is away, that is remembered here and the accounts stay marked."""
        if self._redis is None or self.unreachable:
            self.unpublished += len(publications)
            return
        try:
            self.newer |= self._run(
                TokenPublisher(self._redis, self._keys, self._seal).put(publications, events)
            )
        except (RedisError, OSError) as error:
            self.unreachable = str(error)
            self.unpublished += len(publications)
            return
        self._store.mark_published([(one.account, one.state.generation) for one in publications])

    def require(self) -> None:
        """Check that Redis answers, where there is one.

        Raises:
            RedisUnreachable: it does not.
        """
        if self._redis is not None:
            self._guarded(self._redis)

    def drop(self, accounts: Mapping[str, int]) -> None:
        """Take everything of these accounts away: id -> the generation at which one of this id would go on.

        Raises:
            RedisUnreachable: Redis is away; what it holds of them stays there.
        """
        redis = self._redis
        if redis is None:
            return
        publisher = TokenPublisher(redis, self._keys)

        async def drop_all() -> None:
            for account, goes_on_at in accounts.items():
                await publisher.drop(account, goes_on_at)

        try:
            self._run(drop_all())
        except (RedisError, OSError) as error:
            raise RedisUnreachable(
                f"removed from the database, but Redis went away before it was told: {str(error).rstrip('.')}. It "
                f"still has {', '.join(accounts)}: ask for the removal again once it is back"
            ) from error

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(work) if self._loop is None else self._loop[0](work)

    def _guarded(self, redis: Redis) -> None:
        async def ping() -> None:
            await answered(redis.ping())

        try:
            self._run(ping())
        except (RedisError, OSError) as error:
            raise RedisUnreachable(
                f"Redis can't be used: {str(error).rstrip('.')}. Nothing was removed: connectors would go on finding the token there"
            ) from error
