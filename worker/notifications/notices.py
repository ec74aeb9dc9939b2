"""Events that no refresh emits: a provider or client recovered, a refresh token or a client's secret is about to expire."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from redis.exceptions import RedisError

from models.event import Event, EventType
from worker.clock import Clock
from worker.db.executor import DatabaseExecutor
from worker.db.fleet.client_secrets import ClientSecrets
from worker.db.fleet.expiring_grants import Ends
from worker.db.fleet.outages import Outages
from worker.errors import RedisUnreachable
from worker.log import log
from worker.policy.gates import Gate
from worker.policy.reasons.done import CLIENT_ACCEPTED_AGAIN, PROVIDER_ANSWERS_AGAIN
from worker.policy.reasons.due import CLIENT_SECRET_ENDS, REFRESH_TOKEN_ENDS
from worker.redis.publisher import TokenPublisher


class Notices:
    """Announces recoveries, and ends of refresh tokens and of clients' secrets, each once in the fleet."""

    def __init__(
        self,
        *,
        outages: Outages,
        ends: Ends,
        secrets: ClientSecrets,
        gates: Callable[[Sequence[str]], Awaitable[dict[str, Gate]]],
        publisher: TokenPublisher,
        clock: Clock,
        executor: DatabaseExecutor,
    ) -> None:
        self._outages = outages
        self._ends = ends
        self._secrets = secrets
        self._gates = gates
        self._publisher = publisher
        self._clock = clock
        self._sql = executor

    async def recovered(self) -> int:
        """Announce the end of each outage whose gate is open again, and return their number.

        Raises:
            RedisUnreachable: the gates are unknown.
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
        """Announce refresh tokens and clients' secrets that end within so many days, and return their number."""
        announced = 0
        while events := await self._sql(
            self._ends.announce, days, kind=EventType.EXPIRING.value, reason=REFRESH_TOKEN_ENDS
        ):
            announced += len(events)
            await self._publish(events)
        secrets = await self._sql(
            self._secrets.announce, days, kind=EventType.EXPIRING.value, reason=CLIENT_SECRET_ENDS
        )
        if secrets:
            await self._publish(secrets)
        return announced + len(secrets)

    async def _publish(self, events: Sequence[Event]) -> None:
        try:
            await self._publisher.put([], events)
        except (RedisError, OSError) as error:
            log.warning("events_not_published", events=len(events), error=str(error))
