"""What a callback worker does beside its tasks: it says which callbacks it knows, as long as it runs.

The first process of its pool does so, out of the template that it runs callbacks from. The worker's main process
must not: it forks the pool, and a fork that meets another thread starting a process leaves that thread waiting
for ever on a pipe that the fork holds open.
"""

from __future__ import annotations

import threading
from typing import Final

from billiard.process import current_process
from redis.exceptions import RedisError

from worker.callbacks.catalog import CallbackCatalog
from worker.callbacks.heartbeats import SAID_EVERY_S, CallbackHeartbeats
from worker.callbacks.host.fork_server_client import SandboxBroken
from worker.errors import RefreshdError
from worker.log import log
from worker.redis.client import connect
from worker.runtime import callback_node, runtime
from worker.settings import Settings

#: A look at the modules that is under way is waited for so long when the process ends.
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

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join(_STOP_S)

    def say(self) -> None:
        """Say once what there is.

        Raises:
            RefreshdError, RedisError, SandboxBroken: it can't be said now.
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
                self.say()
            except (RefreshdError, RedisError, OSError, SandboxBroken) as error:
                log.warning("callbacks_not_announced", error=str(error))
            self._stopping.wait(SAID_EVERY_S)


_announcer: CallbackHeartbeat | None = None


def announce_callbacks() -> None:
    """Begin to announce, in the first process of a callback worker's pool; elsewhere nothing happens."""
    global _announcer  # noqa: PLW0603  (one per process, and a pool's process has no other place)
    node = callback_node()
    if node is not None and getattr(current_process(), "index", None) == 0:
        _announcer = CallbackHeartbeat(node)
        _announcer.start()


def stop_announcing() -> None:
    """Stop, before this process lets go of everything."""
    global _announcer  # noqa: PLW0603
    if _announcer is not None:
        _announcer.stop()
        _announcer = None


def withdraw_callbacks(settings: Settings) -> None:
    """Return that this worker is gone: called where its main process ends."""
    node = callback_node()
    if node is None:
        return
    redis = connect(settings.redis)
    try:
        CallbackHeartbeats(redis, settings.redis_prefix).withdraw(node)
    except (RedisError, OSError) as error:
        log.warning("callbacks_not_withdrawn", error=str(error))
    finally:
        redis.close()
