"""One child process in a session of its own: Ctrl-C in the terminal does not reach it, and its family ends with it."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

#: How often an end is looked for.
_LOOK_S: Final = 0.01


class Child:
    """A process that we started, and whatever it started itself.

    Args:
        command: program and arguments; no secret belongs there, everybody can read them.
        log: where its output is appended.
        environment: the whole environment; None: ours.
        keep: descriptors that it inherits.

    Raises:
        OSError: it can't be started.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        log: Path,
        environment: Mapping[str, str] | None = None,
        keep: Sequence[int] = (),
    ) -> None:
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            self._process = subprocess.Popen(  # noqa: S603  (the command is ours)
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=descriptor,
                stderr=descriptor,
                env=None if environment is None else dict(environment),
                pass_fds=tuple(keep),
                start_new_session=True,
            )
        finally:
            os.close(descriptor)
        self.log = log

    @property
    def pid(self) -> int:
        """Of the process, and at the same time of its session and process group."""
        return self._process.pid

    def ended(self) -> int | None:
        """Return the exit code (negative: the signal that ended it), None while it runs.

        What it leaves behind is ended with it, before its pid can be given to another process.
        """
        if self._process.returncode is None and self._left_a_zombie():
            self._kill_group()
            self._process.wait()
        return self._process.returncode

    def terminate(self) -> None:
        """Ask it to end (SIGTERM). Only the process itself is asked: it looks after its own children."""
        if self.ended() is None:
            os.kill(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        """End it and everything that it started (SIGKILL), and wait for that."""
        if self._process.returncode is None:
            self._kill_group()
            self._process.wait()

    def wait(self, timeout_s: float) -> int | None:
        """Wait for its end; None where it still runs after so many seconds."""
        until = time.monotonic() + timeout_s
        while (code := self.ended()) is None and time.monotonic() < until:
            time.sleep(_LOOK_S)
        return code

    def _left_a_zombie(self) -> bool:
        """Look without reaping: as long as the zombie is there, no other process can get its pid or group."""
        if not hasattr(os, "waitid"):  # macOS before Python 3.13
            return self._process.poll() is not None
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def _kill_group(self) -> None:
        # macOS refuses with EPERM where only zombies are left in the group.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
