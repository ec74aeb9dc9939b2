"""The asker's side: a request is sealed and sent, and its reply waited for. It needs no key that opens anything."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from kombu.exceptions import OperationalError
from pydantic import ValidationError
from redis.asyncio import Redis
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from worker.broker.queues import MESSAGE_EXPIRES_S, URGENT
from worker.clock import wall_clock
from worker.crypto.intake import IntakeSealer
from worker.errors import RedisUnreachable, RefreshdError
from worker.intake.requests import TASK, IntakeRequest, Op, Reply, new_request_id, reply_key, seal_request

if TYPE_CHECKING:
    from celery import (
        Celery,  # half a second of imports, which an API process spends beside its first answers
    )

#: Longer than a call to a provider takes (30 s), and than the rest of it.
TIMEOUT_S: Final = 45.0
#: Redis ends a wait a little late; the connection is given up only behind that.
_GRACE_S: Final = 5.0

#: Sends a sealed request under its id.
Send = Callable[[str, str], None]


class NoWorkerAnswered(RefreshdError):
    """No worker answered in time: the request may still be carried out, once."""


def send_with(app: Celery) -> Send:
    """Return the function that sends a request to the workers; it blocks for a round trip."""

    def send(sealed: str, request_id: str) -> None:
        app.send_task(
            TASK,
            kwargs={"request": sealed, "request_id": request_id},
            # What Flower shows of it: a sealed text tells nobody anything.
            argsrepr="()",
            kwargsrepr=f"{{'request_id': {request_id!r}}}",
            queue=URGENT,
            expires=MESSAGE_EXPIRES_S,
            retry=False,
        )

    return send


class IntakeClient:
    """Asks workers.

    Args:
        redis: where replies are waited for, each on a connection of its own (`worker.redis.client.connect_async`).
        prefix: REFRESHD_REDIS_PREFIX.
        sealer: seals requests.
        send: sends them (`send_with`).
        most: requests that wait at a time; further ones queue here, within their own time-out.
        now: tells when a request is sent, epoch seconds: grants are stored in that order.
    """

    def __init__(
        self,
        *,
        redis: Redis,
        prefix: str,
        sealer: IntakeSealer,
        send: Send,
        most: int = 100,
        now: Callable[[], float] = wall_clock,
    ) -> None:
        self._redis = redis
        self._prefix = prefix
        self._sealer = sealer
        self._send = send
        self._now = now
        self._waiting = asyncio.Semaphore(most)
        self._host = socket.gethostname()

    async def ask(
        self,
        op: Op,
        *,
        actor: str,
        require_labels: Mapping[str, str],
        payload: Mapping[str, Any],
        timeout_s: float = TIMEOUT_S,
    ) -> Reply:
        """Have a worker carry out a request, and return its reply.

        Args:
            op: what is asked for.
            actor: whom the audit trail names.
            require_labels: labels that accounts must have to be seen or touched.
            payload: what the op takes, secrets in clear.
            timeout_s: how long a worker has to answer.

        Raises:
            NoWorkerAnswered: none did.
            RequestTooLong: no message can carry it.
            RedisUnreachable: it was not sent, or its reply can't be waited for.
        """
        request = IntakeRequest(
            op=op,
            actor=actor,
            host=self._host,
            require_labels=dict(require_labels),
            payload=dict(payload),
            sent_at=self._now(),
        )
        request_id = new_request_id()
        sealed = seal_request(request, request_id, self._sealer)
        try:
            async with asyncio.timeout(timeout_s + _GRACE_S), self._waiting:
                await asyncio.to_thread(self._send, sealed, request_id)
                popped = await self._redis.blpop([reply_key(self._prefix, request_id)], timeout=timeout_s)
        except (TimeoutError, RedisTimeoutError):
            popped = None
        except (OperationalError, RedisError, OSError) as error:
            raise RedisUnreachable(
                f"Redis can't be used: {error}. REFRESHD_REDIS_URL says where it is"
            ) from error
        if popped is None:
            raise NoWorkerAnswered(
                f"no worker answered within {timeout_s:g} s: does one take from the queue `{URGENT}`, with the keys of "
                "REFRESHD_INTAKE_KEY? `refreshd status` shows workers and queues. The request may still be carried out"
            )
        try:
            return Reply.model_validate_json(popped[1])
        except ValidationError:
            raise NoWorkerAnswered(
                "a reply can't be read: do workers and this process run the same version?"
            ) from None
