"""What a callback worker does beside its tasks: it says which callbacks it knows, as long as it runs."""

from __future__ import annotations

import asyncio
import threading
from typing import Any, Final

from celery import bootsteps
from redis.exceptions import RedisError

from worker.bootsteps import CALLBACK
from worker.callbacks.protocol import Described
from worker.errors import SettingsError
from worker.events import log
from worker.io.callback_environment import environment_of_callbacks
from worker.io.callback_offer import Offer, configured_callbacks
from worker.io.callback_presence import SAID_EVERY_S, Presence
from worker.io.callback_sandbox import changed_at, describe
from worker.io.callback_template import SandboxBroken
from worker.io.redis import connect
from worker.settings import Settings, load_settings

#: A thread that imports callbacks right now is waited for so long when the worker ends.
_STOP_S: Final = 5.0


class Announcing(bootsteps.StartStopStep):
    """Says which callbacks there are, in every worker that takes from `callback`."""

    requires = ("celery.worker.components:Timer",)

    def __init__(self, _parent: Any, **_: Any) -> None:
        self._announcer: Announcer | None = None

    def start(self, parent: Any) -> None:
        if CALLBACK in parent.app.amqp.queues.consume_from:
            self._announcer = Announcer(load_settings(), parent.hostname)
            self._announcer.start()

    def stop(self, _parent: Any) -> None:
        if self._announcer is not None:
            self._announcer.stop()


class Announcer:
    """A thread that keeps a worker's offer in Redis; it looks again when the files have changed."""

    def __init__(self, settings: Settings, worker: str) -> None:
        self._settings = settings
        self._worker = worker
        self._presence = Presence(connect(settings.redis), settings.redis_prefix)
        self._described = Described()
        self._read_at: dict[str, int] | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._go_on, name="refreshd-callbacks", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Stop, and say that this worker is gone."""
        self._stopping.set()
        self._thread.join(_STOP_S)
        try:
            self._presence.withdraw(self._worker)
        except (RedisError, OSError) as error:
            log.warning("callbacks_not_withdrawn", error=str(error))

    def say(self) -> None:
        """Say once what there is.

        Raises:
            RedisError: Redis is away.
        """
        configured = configured_callbacks(self._settings)
        files = changed_at(self._described.files)
        if self._read_at != files:
            secrets = [one.secret for one in configured.values()]
            environment = environment_of_callbacks(self._settings, secrets)
            self._described = asyncio.run(describe(self._settings.callback_modules, environment))
            self._read_at = changed_at(self._described.files)
            for module, why in self._described.problems.items():
                log.error("callback_module_unusable", module=module, reason=why)
        self._presence.announce(self._worker, Offer.of(configured, self._described))

    def _go_on(self) -> None:
        while not self._stopping.is_set():
            try:
                self.say()
            except (RedisError, OSError, SettingsError, SandboxBroken) as error:
                log.warning("callbacks_not_announced", error=str(error))
            self._stopping.wait(SAID_EVERY_S)
