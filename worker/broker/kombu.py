"""Celery's broker on Redis: options that held through outages, and two repairs of kombu 5.7."""

from __future__ import annotations

import re
from collections.abc import Mapping
from queue import Empty
from typing import Any, Final
from urllib.parse import parse_qsl, quote, urlsplit

import kombu.transport.redis
from kombu.exceptions import OperationalError
from kombu.transport.redis import Channel, SentinelChannel, Transport
from redis._parsers.base import BaseParser
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import OutOfMemoryError, ReadOnlyError, RedisError, ResponseError

from refreshd_reader.redis.hosts import host_text
from refreshd_reader.redis.sentinel import SentinelAddress, is_sentinel
from worker.broker.program import program
from worker.clock import shared_now
from worker.log import log
from worker.redis.client import SOCKET_OPTIONS

#: A message that is not acknowledged within this time is delivered again. More than twice the longest task:
#: a group takes no longer than its calls (10 minutes at most) and a few commits.
VISIBILITY_TIMEOUT_S: Final = 3600

TRANSPORT_OPTIONS: Final[dict[str, Any]] = {
    **SOCKET_OPTIONS,
    "visibility_timeout": VISIBILITY_TIMEOUT_S,
    # Urgent before planned: the default order is round robin.
    "queue_order_strategy": "priority",
    # Each worker looks for overdue messages, every `interval * throttle` seconds (by default 100, kombu 5.7). Beside the hour above
    # ten seconds are nothing; each second, it was a tenth of what an idle worker cost.
    "unacked_restore_interval": 10,
    "unacked_restore_throttle": 1,
}


#: kombu's classes, whose methods below are their own business and in no stub.
_CHANNEL: Any = Channel
_TRANSPORT: Any = Transport
_SENTINEL_CHANNEL: Any = SentinelChannel


def broker_url(redis_url: str) -> str:
    """Return the URL of a Redis in kombu's words: a unix socket is `redis+socket://` there.

    kombu 5.7 checks no certificate where a `rediss://` URL does not say that it should; redis-py always does.
    """
    if is_sentinel(redis_url):
        return _sentinel_url(SentinelAddress.of(redis_url))
    if redis_url.startswith("rediss://") and "ssl_cert_reqs=" not in redis_url:
        return f"{redis_url}{'&' if '?' in redis_url else '?'}ssl_cert_reqs=required"
    if redis_url.startswith("unix://"):
        return "redis+socket://" + re.sub(r"([?&])db=", r"\1virtual_host=", redis_url.removeprefix("unix://"))
    return redis_url


def broker_tls(redis_url: str) -> dict[str, str] | None:
    """Return the TLS options of a URL as Flower wants them; None: no TLS. The password of a key is left out."""
    if is_sentinel(redis_url):
        address = SentinelAddress.of(redis_url)
        return (
            _without_password({"ssl_cert_reqs": "required", **address.tls_options}) if address.tls else None
        )
    parts = urlsplit(broker_url(redis_url))
    if parts.scheme != "rediss":
        return None
    wanted = {name: value for name, value in parse_qsl(parts.query) if name.startswith("ssl_")}
    return _without_password(wanted)


def _without_password(options: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in options.items() if name != "ssl_password"}


def _sentinel_url(address: SentinelAddress) -> str:
    """Return the URLs of all sentinels, as kombu wants them; user and password are those of the servers."""
    user = quote(address.username or "", safe="")
    login = f"{user}:{quote(address.password, safe='')}@" if address.password is not None else ""
    return ";".join(f"sentinel://{login}{host_text(one)}/{address.database}" for one in address.hosts)


def transport_options(redis_url: str) -> dict[str, Any]:
    """Return kombu's options for a broker's URL."""
    if not is_sentinel(redis_url):
        return TRANSPORT_OPTIONS
    address = SentinelAddress.of(redis_url)
    options = {**TRANSPORT_OPTIONS, "master_name": address.master}
    # A worker's statistics show these options, and Flower shows the statistics: the sentinels' login stands elsewhere.
    _SENTINEL_CHANNEL.sentinel_kwargs = address.sentinel_kwargs()
    if program() == "flower":  # whose own page of queues reads them here, and which answers no statistics
        options["sentinel_kwargs"] = address.sentinel_kwargs()
    return options


def sending_options(redis_url: str) -> dict[str, Any]:
    """Return kombu's options for a broker of another application, to which messages are sent and from which none are taken."""
    if not is_sentinel(redis_url):
        return dict(SOCKET_OPTIONS)
    address = SentinelAddress.of(redis_url)
    return {**SOCKET_OPTIONS, "master_name": address.master, "sentinel_kwargs": address.sentinel_kwargs()}


def survive_lost_connections() -> None:
    """Keep a worker alive whose Redis goes away while a message is unacknowledged.

    Celery 5.7.0 closes the connection and then restores unacknowledged messages through the detached
    transport, which fails with an AttributeError that ends the worker. Raised as the connection error that it
    is, it is handled like any other (tests/e2e/test_redis_outage.py). docs/decisions has the story.
    """
    original = _CHANNEL._connparams  # noqa: SLF001
    if getattr(original, "repaired", False):
        return

    def connparams(self: Any, asynchronous: bool = False) -> Any:
        if getattr(self.connection, "client", None) is None:
            raise RedisConnectionError("the connection to the broker was lost")
        return original(self, asynchronous=asynchronous)

    connparams.repaired = True  # type: ignore[attr-defined]
    _CHANNEL._connparams = connparams  # noqa: SLF001


class RefusedWrite(ResponseError):
    """Redis takes no writes for now: its last save failed (MISCONF), or too few replicas follow it (NOREPLICAS)."""


#: Redis answers, and takes no writes for now: it is full, a replica, or one of the above.
REFUSED_WRITES: Final = (OutOfMemoryError, ReadOnlyError, RefusedWrite)


def survive_refused_writes() -> None:
    """Have a worker try again, as after a lost connection, when Redis refuses a write for now.

    To kombu 5.7 such an answer is none of its errors, and Celery ends the process over it: when it takes a message, or
    answers whoever asks what it does.
    """
    BaseParser.EXCEPTION_CLASSES |= {"MISCONF": RefusedWrite, "NOREPLICAS": RefusedWrite}
    known = _TRANSPORT.connection_errors
    _TRANSPORT.connection_errors = (*known, *(one for one in REFUSED_WRITES if one not in known))


def restore_by_shared_time() -> None:
    """Have kombu note by the fleet's time when a message was taken, and when it is overdue.

    By its own, a worker whose clock is an hour ahead takes every message in work for lost, and delivers it again.
    """
    module: Any = kombu.transport.redis
    module.time = shared_now


def survive_garbage() -> None:
    """Keep a worker alive that takes something from a queue which is no message.

    Whoever may write to Redis can push anything; kombu 5.7 lets it end the process, one a piece.
    """
    read, deliver = _CHANNEL._brpop_read, _TRANSPORT._deliver  # noqa: SLF001
    if getattr(deliver, "repaired", False):
        return

    def brpop_read(self: Any, **options: Any) -> Any:
        try:
            return read(self, **options)
        except ValueError as error:  # no JSON, no UTF-8
            log.error("undecodable_message", error=type(error).__name__)
            raise Empty from None

    def checked(self: Any, message: Any, queue: str) -> None:
        try:
            envelope = _CHANNEL.Message(message, channel=next(iter(self.channels)))
            dict(envelope.headers)
            envelope.properties["delivery_info"]["routing_key"].strip()
            envelope.delivery_tag.strip()
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            log.error("undecodable_message", queue=queue, error=type(error).__name__)
            return
        try:
            deliver(self, message, queue)
        except (RedisError, OSError, OperationalError):
            raise
        except Exception as error:  # noqa: BLE001  (whatever Celery raises would end the worker)
            # An envelope like ours around something that Celery trips over while it reads it.
            log.error(
                "undecodable_message", queue=queue, error=type(error).__name__, task_id=_task_id(envelope)
            )
            _reject(self, envelope.delivery_tag)

    checked.repaired = True  # type: ignore[attr-defined]
    _CHANNEL._brpop_read = brpop_read  # noqa: SLF001
    _TRANSPORT._deliver = checked  # noqa: SLF001


def _reject(transport: Any, delivery_tag: str) -> None:
    """Take a message off the unacknowledged ones: it would come again, and ever again."""
    for channel in transport.channels:
        if delivery_tag in channel.qos._delivered:  # noqa: SLF001
            channel.basic_reject(delivery_tag, requeue=False)


def _task_id(envelope: Any) -> str:
    return str(envelope.headers.get("id"))[:100]
