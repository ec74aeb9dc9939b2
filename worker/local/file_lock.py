"""One process at a time in a folder: a lock that ends with the process that holds it, kill -9 included."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path


class FolderLock:
    """An advisory lock on a file (flock).

    It belongs to the open file, not to the process: a child that was given `descriptor` holds it too, and it
    ends when the last of them does. Nothing stale is left behind, whatever the file says.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    @property
    def descriptor(self) -> int:
        """Return the open file, for a child that shall hold the lock as long as it lives."""
        if self._descriptor is None:
            raise RuntimeError(f"{self.path} is not locked")
        return self._descriptor

    def acquire(self) -> bool:
        """Take the lock and write our pid into it; False where another process has it."""
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if not self.try_lock(descriptor):
            os.close(descriptor)
            return False
        self._descriptor = descriptor
        self.write_holder(os.getpid())
        return True

    @staticmethod
    def try_lock(descriptor: int) -> bool:
        """Lock an open file; False where another process has it locked."""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def write_holder(self, pid: int | None) -> None:
        """Write the pid of the process that shall hold the lock, or none."""
        os.ftruncate(self.descriptor, 0)
        if pid is not None:
            os.pwrite(self.descriptor, f"{pid}\n".encode(), 0)

    def release(self) -> None:
        """Release the lock; a child that inherited the descriptor still holds it."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def holder(self) -> int | None:
        """Return the pid that the file holds; None where it holds none."""
        with suppress(OSError, ValueError):
            return int(self.path.read_text(encoding="ascii"))
        return None
