"""The subscription to `refreshd:announce` of a `Reader`: one daemon thread, run only while it is needed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from redis.backoff import NoBackoff
from redis.retry import Retry

from refreshd_reader.redis.announcements import Hub
from refreshd_reader.redis.wire import WIRE_ERRORS

if TYPE_CHECKING:
    from refreshd_reader.reader import Client

T = TypeVar("T")

#: Longest silent read, seconds: how soon a listener notices that it was closed or a heartbeat is due.
TICK_S = 0.2

#: Seconds between two tries to subscribe while Redis is away.
RETRY_S = 0.5


class NeverReconnect(Retry):
    """A redis-py connection that reconnects by itself would hide that announcements were missed."""

    def __init__(self) -> None:
        super().__init__(NoBackoff(), 0)

    def call_with_retry(self, do: Callable[[], T], *_args: Any, **_kwargs: Any) -> T:
        return do()


class Subscription:
    """Listens for announcements in a daemon thread and hands them to the hub."""

    def __init__(self, client: Client, channel: str, hub: Hub[threading.Event]) -> None:
        self._client = client
        self._channel = channel
        self._hub = hub
        self._thread: threading.Thread | None = None
        self._start = threading.Lock()
        self._closed = threading.Event()

    def ensure(self) -> None:
        """Start listening, if nobody does (not yet, no longer, or not in this forked process)."""
        if self._thread is not None and self._thread.is_alive():
            return
        with self._start:
            if self._closed.is_set() or (self._thread is not None and self._thread.is_alive()):
                return
            self._thread = threading.Thread(target=self._run, name="refreshd-announce", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Stop listening, and wait until the thread has ended."""
        self._closed.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while self._hub.wanted and not self._closed.is_set():
            try:
                self._listen()
            except WIRE_ERRORS:
                self._hub.lost()
                self._closed.wait(RETRY_S)
        self._hub.lost()

    def _listen(self) -> None:
        client: Any = self._client  # redis-py's `pubsub` has no types
        pubsub = client.pubsub()
        try:
            pubsub.subscribe(self._channel)
            retry, pubsub.connection.retry = pubsub.connection.retry, NeverReconnect()
            try:
                self._hear(pubsub)
            finally:
                pubsub.connection.retry = retry  # the connection goes back to its pool
        finally:
            pubsub.close()

    def _hear(self, pubsub: Any) -> None:
        self._hub.opened()
        while self._hub.wanted and not self._closed.is_set():
            response = pubsub.parse_response(block=False, timeout=TICK_S)
            if response is not None:
                self._hub.hear(response)
            if self._hub.heartbeat():
                pubsub.ping()
