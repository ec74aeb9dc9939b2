"""The supervisor's side of the guardian: tells it what to end, should we be killed ourselves."""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from worker.local import guardian
from worker.local.guardian import Ward


class Guard:
    """A guardian process, replaced where somebody killed it.

    Args:
        log: where the guardian's own output goes.
    """

    def __init__(self, log: Path) -> None:
        self._log = log
        self._wards: dict[int, Ward] = {}
        self._process: subprocess.Popen[str] | None = None

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    def watch(self, ward: Ward) -> None:
        """Have a process ended when we are killed."""
        self._wards[ward.pid] = ward
        if not self._replaced():
            self._tell(ward.line())

    def forget(self, pid: int) -> None:
        """Note that a process ended: its pid may soon be somebody else's."""
        if self._wards.pop(pid, None) is not None:
            self._tell(f"- {pid}\n")

    def look(self) -> None:
        """See that the guardian lives, as long as there is something to guard."""
        if self._wards:
            self._replaced()

    def dismiss(self) -> None:
        """End the guardian. What it still knows of is ended by it."""
        process, self._process = self._process, None
        if process is not None and process.stdin is not None:
            with suppress(BrokenPipeError):
                process.stdin.close()
            process.wait()

    def _replaced(self) -> bool:
        """Start a guardian where none runs, and tell it everything."""
        if self._process is not None and self._process.poll() is None:
            return False
        self.dismiss()
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603  (our own script)
                [sys.executable, "-I", "-S", guardian.__file__],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        for ward in self._wards.values():
            self._tell(ward.line())
        return True

    def _tell(self, line: str) -> None:
        if self._process is not None and self._process.stdin is not None:
            with suppress(BrokenPipeError):  # it was killed; the next look replaces it
                self._process.stdin.write(line)
                self._process.stdin.flush()
