"""Handling of announcements, shared by the thread of `Reader` and the task of `AsyncReader`. No I/O."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any, Generic, Protocol, TypeVar

from refreshd_reader.cache import VOUCH_S, TokenCache
from refreshd_reader.contract import Announcement

#: Seconds between two heartbeats on the subscription: three chances within `cache.VOUCH_S`.
HEARTBEAT_S = 1.0

#: Seconds that a subscription is kept after the last wait, without a cache that needs it.
LINGER_S = 30.0

#: Longest silent read, seconds: how soon a listener notices that it was closed or a heartbeat is due.
TICK_S = 0.2

#: Seconds between two tries to subscribe while Redis is away.
RETRY_S = 0.5


class Event(Protocol):
    """The part of `threading.Event` and `asyncio.Event` that the hub uses."""

    def set(self) -> None: ...


E = TypeVar("E", bound=Event)


class Hub(Generic[E]):
    """Passes announcements on to the cache and to the waits for an account.

    One subscription's life: `opened`, then `hear` each response, `heartbeat` before each read, `lost` at its end.
    """

    def __init__(self, cache: TokenCache | None) -> None:
        self._cache = cache
        self._waiting: dict[str, set[E]] = {}
        self._lock = threading.Lock()
        self._wanted_until = 0.0
        self._ping_sent_at: float | None = None
        self._ping_due_at = 0.0
        _HUBS.add(self)

    @contextmanager
    def waiting(self, account: str, event: E) -> Iterator[E]:
        """Set `event`, while the block runs, whenever the account should be looked at again."""
        with self._lock:
            self._waiting.setdefault(account, set()).add(event)
        try:
            yield event
        finally:
            with self._lock:
                self._wanted_until = monotonic() + LINGER_S
                others = self._waiting[account]
                others.discard(event)
                if not others:
                    del self._waiting[account]

    @property
    def wanted(self) -> bool:
        """Whether the cache or a wait needs the subscription."""
        return self._cache is not None or bool(self._waiting) or monotonic() < self._wanted_until

    def opened(self) -> None:
        """Start with a new subscription: the cache is not valid until its first heartbeat is answered."""
        self._ping_sent_at = None
        self._ping_due_at = 0.0

    def heartbeat(self) -> bool:
        """Return whether to send a PING now.

        Raises:
            TimeoutError: the last one was not answered; the connection is dead, whatever TCP reports.
        """
        now = monotonic()
        if self._ping_sent_at is not None:
            if now - self._ping_sent_at > VOUCH_S:
                raise TimeoutError("the subscription does not answer")
            return False
        if now < self._ping_due_at:
            return False
        self._ping_sent_at = now
        self._ping_due_at = now + HEARTBEAT_S
        return True

    def hear(self, response: object) -> None:
        """Handle one response: a list of kind, channel and data, or the bare answer to PING (RESP3)."""
        kind, data = _kind_and_data(response)
        if kind == "pong":
            if self._cache is not None and self._ping_sent_at is not None:
                self._cache.vouch(self._ping_sent_at)
            self._ping_sent_at = None
        elif kind == "message":
            self._announced(data)
        else:  # subscribed: earlier announcements were missed
            self.lost()

    def lost(self) -> None:
        """Clear the cache and wake every wait: announcements may have been missed."""
        if self._cache is not None:
            self._cache.clear()
        with self._lock:
            for events in self._waiting.values():
                for event in events:
                    event.set()

    def after_fork(self) -> None:
        """Start anew in a forked child: its subscription lives on in the parent only."""
        self._lock = threading.Lock()
        self._waiting.clear()
        if self._cache is not None:
            self._cache.after_fork()

    def _announced(self, data: str) -> None:
        try:
            announced = Announcement.from_text(data)
        except ValueError:
            self.lost()  # an announcement of something unknown
            return
        if self._cache is not None:
            self._cache.announced(announced)
        with self._lock:
            for event in self._waiting.get(announced.account, ()):
                event.set()


def _kind_and_data(response: object) -> tuple[str, str]:
    if isinstance(response, list) and response:
        return _text(response[0]), _text(response[-1])
    return "pong", ""


def _text(value: object) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


_HUBS: weakref.WeakSet[Any] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for hub in _HUBS:
        hub.after_fork()


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(after_in_child=_after_fork_in_child)
