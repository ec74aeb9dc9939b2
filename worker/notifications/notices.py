"""What nobody's refresh tells: that a provider or client answers again, and that a refresh token comes to its end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from redis.exceptions import RedisError

from models.event import Event, EventType
from worker.clock import Clock
from worker.db.executor import DatabaseExecutor
from worker.db.fleet.expiring_grants import Ends
from worker.db.fleet.outages import Outages
from worker.errors import RedisUnreachable
from worker.log import log
from worker.policy.gates import Gate
from worker.policy.reasons.done import CLIENT_ACCEPTED_AGAIN, PROVIDER_ANSWERS_AGAIN
from worker.policy.reasons.due import REFRESH_TOKEN_ENDS
from worker.redis.publisher import TokenPublisher


class Notices:
    """Looks at what was told and at what comes; each is told once, whoever looks."""

    def __init__(
        self,
        *,
        outages: Outages,
        ends: Ends,
        gates: Callable[[Sequence[str]], Awaitable[dict[str, Gate]]],
        publisher: TokenPublisher,
        clock: Clock,
        executor: DatabaseExecutor,
    ) -> None:
        self._outages = outages
        self._ends = ends
        self._gates = gates
        self._publisher = publisher
        self._clock = clock
        self._sql = executor

    async def recovered(self) -> int:
        """Tell of each outage whose gate is open by now; returns their number.

        Raises:
            RedisUnreachable: nobody knows.
        """
        ongoing = await self._sql(self._outages.ongoing)
        if not ongoing:
            return 0
        try:
            gates = await self._gates([outage.breaker for outage in ongoing])
        except (RedisError, OSError) as error:
            raise RedisUnreachable(f"Redis can't be asked which gates are closed: {error}") from error
        events: list[Event] = []
        for outage in ongoing:
            event = Event(
                type=EventType.RECOVERED.value,
                provider=outage.provider,
                client=outage.client or None,
                reason=CLIENT_ACCEPTED_AGAIN if outage.client else PROVIDER_ANSWERS_AGAIN,
                at=self._clock.now(),
            )
            closed = gates[outage.breaker].is_closed(self._clock.now())
            if not closed and await self._sql(self._outages.ended, outage.breaker, event):
                events.append(event)
        await self._publish(events)
        return len(events)

    async def expiring(self, days: Sequence[float]) -> int:
        """Announce refresh tokens that come to a fixed end within so many days; returns their number."""
        announced = 0
        while events := await self._sql(
            self._ends.announce, days, kind=EventType.EXPIRING.value, reason=REFRESH_TOKEN_ENDS
        ):
            announced += len(events)
            await self._publish(events)
        return announced

    async def _publish(self, events: Sequence[Event]) -> None:
        try:
            await self._publisher.put([], events)
        except (RedisError, OSError) as error:
            log.warning("events_not_published", events=len(events), error=str(error))
