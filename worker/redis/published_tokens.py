"""What Redis holds of each account while it is refreshed: its token and state, its lease, an answer that waits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from models.event import Event
from models.publication import Publication
from worker.redis.leases import Leases
from worker.redis.pending_answers import PendingAnswers
from worker.redis.publisher import NO_ANSWERS, TokenPublisher


class PublishedTokens:
    """Publishes what was stored, parks what can't be stored yet, and ends leases."""

    def __init__(self, publisher: TokenPublisher, pending: PendingAnswers, leases: Leases) -> None:
        self._publisher = publisher
        self._pending = pending
        self._leases = leases

    async def publish(
        self,
        publications: Sequence[Publication],
        events: Sequence[Event] = (),
        answers: Mapping[str, str] = NO_ANSWERS,
    ) -> dict[str, int]:
        """Publish states, tokens and events; the lease of each published token ends with it.

        Returns the accounts of which Redis has a newer generation, and keeps it: id -> that generation.

        Args:
            publications: what to write.
            events: what to add to the stream.
            answers: account -> the answer that was committed, sealed, which stays for some minutes.

        Raises:
            RedisError: Redis is away; SQL knows what it lacks.
        """
        leases = {p.account: self._leases.hand_over(p.account) for p in publications if p.token is not None}
        try:
            return await self._publisher.put(publications, events, leases=leases, answers=answers)
        except BaseException:
            self._leases.take_back(leases)
            raise

    async def park(self, sealed: Mapping[str, str]) -> None:
        """Put sealed answers where every worker finds them, account -> text, until the database takes them.

        Raises:
            RedisError: Redis is away.
        """
        await self._pending.put(sealed)

    async def forget(self, parked: Mapping[str, str]) -> None:
        """Delete parked answers that the database has taken, account -> text; another that waits meanwhile stays.

        Raises:
            RedisError: Redis is away.
        """
        if parked:
            await self._pending.forget(parked)

    async def release(self, accounts: Iterable[str]) -> None:
        """Release the leases that this process still holds. Where Redis is away, they end by themselves."""
        await self._leases.release(accounts)
