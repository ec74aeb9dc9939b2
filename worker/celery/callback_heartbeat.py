"""A callback worker's heartbeat: it publishes which callbacks it knows, as long as it runs."""

from __future__ import annotations

import threading
from typing import Final

from redis.exceptions import RedisError

from worker.callbacks.catalog import CallbackCatalog
from worker.callbacks.heartbeats import CallbackHeartbeats
from worker.callbacks.host.fork_server_client import SandboxBroken
from worker.errors import RefreshdError
from worker.log import log
from worker.redis.client import connect
from worker.redis.heartbeats import HEARTBEAT_EVERY_S
from worker.runtime import runtime
from worker.settings import Settings

#: A look at the modules that is under way is waited for so long when the worker ends.
_STOP_S: Final = 5.0


class CallbackHeartbeat:
    """A thread that keeps in Redis what this worker offers."""

    def __init__(self, node: str) -> None:
        self._node = node
        self._said: CallbackCatalog | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._go_on, name="refreshd-callbacks", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, settings: Settings) -> None:
        """Stop, and withdraw what this worker offered."""
        self._stopping.set()
        self._thread.join(_STOP_S)
        redis = connect(settings.redis)
        try:
            CallbackHeartbeats(redis, settings.redis_prefix).withdraw(self._node)
        except (RedisError, OSError) as error:
            log.warning("callbacks_not_withdrawn", error=str(error))
        finally:
            redis.close()

    def _beat(self) -> None:
        """Publish once what this worker offers.

        Raises:
            RefreshdError, RedisError, OSError, SandboxBroken: it can't be found out or published now.
        """
        here = runtime()
        if here.callback_runner is None:
            return
        offer = here.run(here.callback_runner.offer())
        for where, why in offer.problems.items():
            if self._said is None or self._said.problems.get(where) != why:
                log.error("callback_unusable", where=where, reason=why)
        CallbackHeartbeats(here.redis, here.settings.redis_prefix).announce(self._node, offer)
        self._said = offer

    def _go_on(self) -> None:
        while not self._stopping.is_set():
            try:
                self._beat()
            except (RefreshdError, RedisError, OSError, SandboxBroken) as error:
                log.warning("callbacks_not_announced", error=str(error))
            self._stopping.wait(HEARTBEAT_EVERY_S)


_heartbeat: CallbackHeartbeat | None = None


def start_heartbeat(node: str) -> None:
    """Begin to publish what the worker of this name offers."""
    global _heartbeat  # noqa: PLW0603  (one per process, and signals have no other place)
    _heartbeat = CallbackHeartbeat(node)
    _heartbeat.start()


def stop_heartbeat(settings: Settings) -> None:
    """Stop, before this process lets go of everything; nothing happens where none was started."""
    global _heartbeat  # noqa: PLW0603
    if _heartbeat is not None:
        _heartbeat.stop(settings)
        _heartbeat = None
