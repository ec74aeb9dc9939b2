"""What a worker process does beside its tasks: it reads what connectors report. And what it leaves: talk among workers."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from celery import bootsteps

from refreshd_reader.contract import Keys
from worker.broker.queues import URGENT
from worker.celery.dispatch import dispatch_with
from worker.log import log
from worker.scheduling.rejected_tokens import ReportReader, connect_for_reports
from worker.settings import load_settings


class Alone(bootsteps.Step):
    """Switches gossip and mingle off, whatever the command line says.

    Nothing here elects a worker or revokes a task by what others say. To ask them takes a second at each start, and
    the Redis user of workers may not listen to their events (`deploy/redis/users.acl`): a worker that tries ends.
    """

    def __init__(self, parent: Any, **_: Any) -> None:
        # The consumer is made last, of these.
        parent.options |= {"without_gossip": True, "without_mingle": True}


class Reports(bootsteps.StartStopStep):
    """Reads `refreshd:rejected` in every worker that takes urgent refreshes."""

    requires = ("celery.worker.components:Timer",)

    def __init__(self, _parent: Any, **_: Any) -> None:
        self._reader: ReportReader | None = None

    def start(self, parent: Any) -> None:
        if URGENT not in parent.app.amqp.queues.consume_from:
            return
        settings = load_settings()
        redis = connect_for_reports(settings.redis)
        self._reader = ReportReader(
            redis, Keys(settings.redis_prefix), dispatch_with(parent.app), consumer=parent.hostname
        )
        self._reader.start()

    def stop(self, _parent: Any) -> None:
        if self._reader is not None:
            self._reader.stop()


TOUCH_INTERVAL_S: Final = 1.0
#: Longer than a worker needs to find Redis again after an outage; compose.yaml looks for files of this age.
DEAD_AFTER_S: Final = 180


def alive_file(data_dir: Path, nodename: str) -> Path:
    """Where the worker of this name shows that it is alive."""
    return data_dir / f"worker-{nodename.replace('/', '_')}.alive"


class Liveness(bootsteps.StartStopStep):
    """Touches the file on the worker's own timer, so that a stuck worker stops touching it."""

    requires = ("celery.worker.components:Timer",)

    def __init__(self, _parent: Any, **_: Any) -> None:
        self._timer_entry: Any = None
        self._file: Path | None = None

    def start(self, parent: Any) -> None:
        self._file = alive_file(load_settings().data_dir, parent.hostname)
        self._touch()
        self._timer_entry = parent.timer.call_repeatedly(TOUCH_INTERVAL_S, self._touch)

    def stop(self, _parent: Any) -> None:
        if self._timer_entry is not None:
            self._timer_entry.cancel()
        if self._file is not None:
            with suppress(OSError):
                self._file.unlink()

    def _touch(self) -> None:
        try:
            if self._file is not None:
                self._file.touch()
        except OSError as error:  # A full or vanished disk says itself what is wrong; work goes on.
            log.warning("can_not_show_liveness", file=str(self._file), error=str(error))
