"""Celery's broker on Redis: options that held through outages, and one repair of kombu 5.7."""

from __future__ import annotations

from typing import Any, Final

from kombu.transport.redis import Channel
from redis.exceptions import ConnectionError as RedisConnectionError

from worker.io.redis import SOCKET_OPTIONS

#: A message that is not acknowledged within this time is delivered again. More than twice the longest task:
#: a group takes no longer than its calls (10 minutes at most) and a few commits.
VISIBILITY_TIMEOUT_S: Final = 3600

TRANSPORT_OPTIONS: Final[dict[str, Any]] = {
    **SOCKET_OPTIONS,
    "visibility_timeout": VISIBILITY_TIMEOUT_S,
    # Urgent before planned: the default order is round robin.
    "queue_order_strategy": "priority",
    # By default redelivery came nine times later than the visibility timeout (kombu 5.7).
    "unacked_restore_interval": 1,
    "unacked_restore_throttle": 1,
}


def broker_url(redis_url: str) -> str:
    """Give the URL of a Redis in kombu's words: a unix socket is `redis+socket://` there."""
    if redis_url.startswith("unix://"):
        return "redis+socket://" + redis_url.removeprefix("unix://").replace("?db=", "?virtual_host=")
    return redis_url


def survive_lost_connections() -> None:
    """Keep a worker alive whose Redis goes away while a message is unacknowledged.

    Celery 5.7.0 closes the connection and then restores unacknowledged messages through the detached
    transport, which fails with an AttributeError that ends the worker. Raised as the connection error that it
    is, it is handled like any other (tests/acceptance/test_redis_outage.py). docs/decisions has the story.
    """
    original = Channel._connparams  # noqa: SLF001
    if getattr(original, "repaired", False):
        return

    def connparams(self: Any, asynchronous: bool = False) -> Any:
        if getattr(self.connection, "client", None) is None:
            raise RedisConnectionError("the connection to the broker was lost")
        return original(self, asynchronous=asynchronous)

    connparams.repaired = True  # type: ignore[attr-defined]
    Channel._connparams = connparams  # noqa: SLF001


def reuse_clients() -> None:
    """Have a channel keep its Redis client instead of making one for each message, acknowledgement and event.

    A client of redis-py 8 takes longer to make than most commands take to run. Connections come from the channel's
    pool either way.
    """
    original = Channel._create_client  # noqa: SLF001
    if getattr(original, "kept", False):
        return

    def create_client(self: Any, asynchronous: bool = False) -> Any:
        if asynchronous:
            return original(self, asynchronous=True)
        client = vars(self).get("kept_client")
        if client is None or client.connection_pool is not self.pool:
            client = self.kept_client = original(self)
        return client

    create_client.kept = True  # type: ignore[attr-defined]
    Channel._create_client = create_client  # noqa: SLF001
