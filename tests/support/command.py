"""`refreshd` as a person runs it: a real process in a folder of its own, on a terminal or not."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Final

import psutil

from tests.support.waiting import PATIENCE_S, wait_until

#: The size of a terminal that every emulator opens with.
_ROWS: Final = 24
_COLUMNS: Final = 80
#: A process that outlives its parent ends within this, or is left behind.
END_OF_OUTPUT_S: Final = 30.0


class Command:
    """A command that runs: its output so far, and everything that it started."""

    def __init__(self, process: subprocess.Popen[bytes], source: int) -> None:
        self.process = process
        self._output = bytearray()
        self._sink = Path(f"/proc/self/fd/{source}").readlink()
        self._reader = threading.Thread(target=self._read, args=(source,), daemon=True)
        self._reader.start()
        self._seen: dict[int, psutil.Process] = {}

    @property
    def output(self) -> str:
        return self._output.decode(errors="replace")

    def family(self) -> list[psutil.Process]:
        """Return every process that it has been seen to have, itself included."""
        with suppress(psutil.NoSuchProcess):
            root = psutil.Process(self.process.pid)
            for one in (root, *root.children(recursive=True)):
                self._seen[one.pid] = one
        return list(self._seen.values())

    def wait_for(self, text: str) -> None:
        """Wait until it says something."""
        wait_until(lambda: text in self.output or self.process.poll() is not None, f"{text!r} is said")
        assert text in self.output, self.output

    def wait(self) -> int:
        """Wait for its end, and for that of all who write where it does; return the exit code."""
        code = self.process.wait(PATIENCE_S)
        self._reader.join(END_OF_OUTPUT_S)
        assert not self._reader.is_alive(), f"its output is held open by {self._writers()}"
        return code

    def _writers(self) -> list[str]:
        found = []
        for process in psutil.process_iter():
            with suppress(OSError, psutil.Error):
                held = {path.readlink() for path in Path(f"/proc/{process.pid}/fd").iterdir()}
                if self._sink in held and process.pid != os.getpid():
                    found.append(" ".join(process.cmdline()))
        return found

    def survivors(self) -> list[str]:
        """Name whoever still runs of what it started."""
        return [" ".join(one.cmdline()) for one in self._seen.values() if _runs(one)]

    def _read(self, source: int) -> None:
        with suppress(OSError):  # EIO: the last one who wrote to the terminal is gone
            while chunk := os.read(source, 65536):
                self._output += chunk


def refreshd(
    folder: Path, *arguments: str, terminal: bool = False, **variables: str
) -> AbstractContextManager[Command]:
    """Run `refreshd` in a folder, with nothing of refreshd in its environment but `variables`."""
    return _running(folder, [sys.executable, "-m", "worker.cli", *arguments], terminal, variables)


def typed(
    folder: Path, script: str, *, terminal: bool = False, **variables: str
) -> AbstractContextManager[Command]:
    """Run what a person types into a shell in a folder, with nothing of refreshd in its environment but `variables`."""
    return _running(folder, ["sh", "-uec", script], terminal, variables)


@contextmanager
def _running(
    folder: Path, words: Sequence[str], terminal: bool, variables: Mapping[str, str]
) -> Iterator[Command]:
    ours = {name: value for name, value in os.environ.items() if not name.startswith("REFRESHD_")}
    source, sink = pty.openpty() if terminal else os.pipe()
    if terminal:
        fcntl.ioctl(sink, termios.TIOCSWINSZ, struct.pack("HHHH", _ROWS, _COLUMNS, 0, 0))
    process = subprocess.Popen(
        words,
        cwd=folder,
        env={**ours, "TERM": "xterm", **variables},
        stdin=subprocess.DEVNULL,
        stdout=sink,
        stderr=sink,
        start_new_session=True,
    )
    os.close(sink)
    command = Command(process, source)
    try:
        yield command
    finally:
        for one in command.family():
            with suppress(psutil.NoSuchProcess):
                one.kill()
        command.wait()
        os.close(source)


def _runs(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False
