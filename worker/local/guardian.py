"""Ends what `refreshd up` started when `refreshd up` itself was killed: a small process that only waits for that.

It runs as a script of its own (`python -I -S guardian.py`), reads its standard input, and imports nothing but the
standard library. A line `+ PHASE GRACE_S PID` names a process to look after, `- PID` one that ended. The end of
the input means that whoever wrote is gone: what is left is ended then, phase by phase, politely and then not.
One mechanism for Linux and macOS; it also ends grandchildren, which a parent-death signal does not reach.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from itertools import groupby
from typing import Final, NamedTuple

_LOOK_S: Final = 0.05


class Ward(NamedTuple):
    """A process that leads its own session, and when to end it: the lowest phase first."""

    phase: int
    grace_s: float
    pid: int

    def line(self) -> str:
        """Return the line that tells a guardian of it."""
        return f"+ {self.phase} {self.grace_s:g} {self.pid}\n"


def read_wards(lines: Iterable[str]) -> list[Ward]:
    """Read until the writer is gone. Gives who is left, in the order of their phases."""
    wards: dict[int, Ward] = {}
    for line in lines:
        if not line.endswith("\n"):
            continue  # its writer was killed while writing, and half a pid is somebody else's
        match line.split():
            case ["+", phase, grace_s, pid]:
                wards[int(pid)] = Ward(int(phase), float(grace_s), int(pid))
            case ["-", pid]:
                wards.pop(int(pid), None)
    return sorted(wards.values())


def end(wards: list[Ward]) -> None:
    """End them phase by phase."""
    for _, together in groupby(wards, key=lambda ward: ward.phase):
        _end_phase([ward for ward in together if _is_the_one(ward.pid)])


def _end_phase(wards: list[Ward]) -> None:
    for ward in wards:
        with suppress(OSError):
            os.kill(ward.pid, signal.SIGTERM)
    began = time.monotonic()
    for ward in wards:
        while _is_the_one(ward.pid) and time.monotonic() - began < ward.grace_s:
            time.sleep(_LOOK_S)
        with suppress(OSError):  # most often nobody is left in the group
            os.killpg(ward.pid, signal.SIGKILL)


def _is_the_one(pid: int) -> bool:
    """Return whether a process of this pid leads a session, as ours do: one that got the pid since rarely does."""
    with suppress(OSError):
        return os.getsid(pid) == pid and not _is_a_zombie(pid)
    return False


def _is_a_zombie(pid: int) -> bool:
    """Return whether it ended and nobody has noted it: a container's first process may be slow at that."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123  (pathlib would triple the start-up time)
            return file.read().rpartition(b")")[2].split()[0] == b"Z"  # proc(5): the state follows the name
    except OSError:
        return False  # macOS has no /proc; there the system's first process is quick


def main() -> None:
    for ignored in (signal.SIGINT, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    end(read_wards(sys.stdin))


if __name__ == "__main__":
    main()
