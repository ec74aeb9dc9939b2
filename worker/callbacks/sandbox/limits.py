"""What a run may take of the machine, and that nothing of it stays behind.

Linux gives all of it; other systems give resource limits and process groups.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

#: Callbacks wait for the CPU behind everything else. While ten of them spin beside it, a standard worker keeps all of
#: its speed; at 15 it kept 88 % (`benchmarks.callbacks`).
NICENESS: Final = 19
#: Under a container's memory limit the kernel ends a callback first.
OOM_SCORE: Final = 1000
#: A refresh takes milliseconds of CPU; what spins is ended before its time.
CPU_S: Final = 20
#: Largest file that a run may write: it has a folder of its own, often in memory.
FILE_BYTES: Final = 32 * 1024 * 1024
OPEN_FILES: Final = 256
#: Processes and threads that a run may add to those its user has. Far more than one needs: those of other
#: containers count too, and can't be seen from here. It is what ends a fork bomb before the machine.
PROCESSES: Final = 512

_MIB: Final = 1024 * 1024
#: prctl(2).
_PR_SET_PDEATHSIG: Final = 1
_PR_SET_DUMPABLE: Final = 4
_PR_SET_CHILD_SUBREAPER: Final = 36
#: How long is waited for killed processes to be gone.
_REAP_S: Final = 2.0
_LOOK_S: Final = 0.005


def hide_memory() -> None:
    """Keep this process' memory and environment from other processes of the same user, root's excepted.

    Without it, a callback could read the keys out of /proc/PID/environ of the worker that started it.
    """
    _prctl(_PR_SET_DUMPABLE, 0)


def confine_fork_server() -> None:
    """Confine the process that every run is forked from; each run inherits it."""
    _tell_kernel("oom_score_adj", OOM_SCORE)
    # Whatever a run leaves behind becomes our child, wherever in the tree and in whichever session it was.
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    hide_memory()


def be_nice() -> None:
    """Let everything else on the machine go first: this process, and what is forked from it.

    Not before the modules are imported: behind a busy machine that takes so long that good ones would be left out.
    """
    os.nice(max(0, NICENESS - os.nice(0)))
    # Linux may share out the CPU among sessions first, and among their processes then: both have to be nice.
    _tell_kernel("autogroup", NICENESS)


def confine_run(*, memory_mb: int, process_limit: int) -> None:
    """Confine this process: one run, with limits that it can't lift.

    Args:
        memory_mb: address space, mebibytes.
        process_limit: processes and threads of this user, all together.
    """
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    for which, most in (
        (resource.RLIMIT_AS, memory_mb * _MIB),
        (resource.RLIMIT_FSIZE, FILE_BYTES),
        (resource.RLIMIT_NOFILE, OPEN_FILES),
        (resource.RLIMIT_NPROC, process_limit),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(which)[1]
        limit = most if hard == resource.RLIM_INFINITY else min(most, hard)
        with suppress(ValueError, OSError):  # macOS refuses an address space smaller than what is taken
            resource.setrlimit(which, (limit, limit))
    # One second apart: the first ends it by a signal of its own, which names the cause.
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S + 1))


def process_limit() -> int:
    """Return RLIMIT_NPROC for a run: the processes and threads that its user has now, and PROCESSES more."""
    mine, count = str(os.geteuid()), 0
    for status in Path("/proc").glob("[0-9]*/status"):
        with suppress(OSError):
            lines = status.read_text(encoding="ascii", errors="replace").splitlines()
            facts = dict(line.split(":", 1) for line in lines if line.startswith(("Uid:", "Threads:")))
            if facts.get("Uid", "").split()[1:2] == [mine]:
                count += int(facts["Threads"])
    return count + PROCESSES


def kill_group(pid: int) -> None:
    """Kill a process group."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def kill_orphans() -> int:
    """Kill every child that this process has, and theirs; returns how many there were."""
    killed: set[int] = set()
    until = time.monotonic() + _REAP_S
    while time.monotonic() < until:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            break
        if pid:
            killed.add(pid)
            continue
        for child in _children():
            killed.add(child)
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        time.sleep(_LOOK_S)
    return len(killed)


def _children() -> list[int]:
    me, found = str(os.getpid()), []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            # After the name, which may hold anything and ends at the last parenthesis: state, parent, ...
            fields = entry.read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
            if fields[1] == me:
                found.append(int(entry.parent.name))
    return found


def _tell_kernel(file: str, value: int) -> None:
    with suppress(OSError):
        Path(f"/proc/self/{file}").write_text(str(value), encoding="ascii")


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)
