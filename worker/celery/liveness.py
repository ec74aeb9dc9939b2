"""Whether a worker is alive, for whoever watches processes: a file that it touches every second.

Asking the worker (`celery inspect ping`) costs 0.7 s of CPU and fails for every worker when Redis is away; a
health check that then restarts them all makes it worse. While Redis is away the file lags, so a worker is dead
only when its file is older than `DEAD_AFTER_S`.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from celery import bootsteps

from worker.log import log
from worker.settings import load_settings

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
