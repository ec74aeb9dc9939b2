"""Child processes that outlive a killed `refreshd up` (`kill -9`): the next one ends them.

Each child inherits a lock on a file of its own, which holds its pid. The kernel frees the lock when the child and
everything that it forked have ended, so a held lock proves that the pid in the file is no other process's, after a
restart of the machine too.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from worker.crypto.private_file import private_folder
from worker.errors import RefreshdError
from worker.local.file_lock import FolderLock
from worker.local.process import Child

_LOOK_S: Final = 0.05
#: After SIGKILL, the kernel needs no longer than this to free a lock.
_KILLED_S: Final = 5.0


class StillRunning(RefreshdError):
    """A process of an earlier run still runs and can't be ended, or must not be started twice."""


def start_child(command: Sequence[str], *, log: Path, environment: Mapping[str, str], lock: Path) -> Child:
    """Start a child that holds a lock as long as it lives.

    Raises:
        StillRunning: a process holds the lock.
        OSError: the child can't be started.
    """
    private_folder(lock.parent)
    held = FolderLock(lock)
    if not held.acquire():
        raise _still_running(held)
    try:
        held.write_holder(
            None
        )  # until the child has a pid, the file names no process that could be ended by mistake
        child = Child(command, log=log, environment=environment, keep=[held.descriptor])
        held.write_holder(child.pid)
    finally:
        held.release()
    return child


def end_leftovers(folder: Path, grace_s: float) -> int:
    """End the children that an earlier run left behind, and return how many.

    Args:
        folder: of their locks.
        grace_s: how long they get to finish (SIGTERM) before they are killed, with everything that they started.

    Raises:
        StillRunning: one can't be ended.
    """
    left = [lock for path in sorted(folder.glob("*.lock")) if not _is_free(lock := FolderLock(path))]
    for lock in left:
        _signal_leader(lock.holder())
    deadline = time.monotonic() + grace_s
    for lock in left:
        _end(lock, deadline)
    return len(left)


def _end(lock: FolderLock, deadline: float) -> None:
    pid = lock.holder()
    while not _is_free(lock) and _leads_a_session(pid) and time.monotonic() < deadline:
        time.sleep(_LOOK_S)
    if pid is not None:
        with suppress(OSError):  # usually nothing is left in the group
            os.killpg(pid, signal.SIGKILL)
    until = time.monotonic() + _KILLED_S
    while not _is_free(lock):
        if time.monotonic() > until:
            raise _still_running(lock)
        time.sleep(_LOOK_S)


def _is_free(lock: FolderLock) -> bool:
    if not lock.path.exists():
        return True
    descriptor = os.open(lock.path, os.O_RDWR | os.O_CLOEXEC)
    try:
        return lock.try_lock(descriptor)
    finally:
        os.close(descriptor)


def _signal_leader(pid: int | None) -> None:
    if pid is not None and _leads_a_session(pid):
        with suppress(OSError):
            os.kill(pid, signal.SIGTERM)


def _leads_a_session(pid: int | None) -> bool:
    """Return whether a process of this pid leads a session, as every child does."""
    with suppress(OSError):
        return pid is not None and os.getsid(pid) == pid
    return False


def _still_running(lock: FolderLock) -> StillRunning:
    pid = lock.holder()
    process = "a process" if pid is None else f"process {pid}"
    return StillRunning(
        f"{process} of an earlier run still holds {lock.path}; end it (`fuser {lock.path}` names it), then start again"
    )
