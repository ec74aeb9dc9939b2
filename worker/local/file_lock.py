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
        """The open file, to hand down to a child that shall hold the lock as long as it lives."""
        if self._descriptor is None:
            raise RuntimeError(f"{self.path} is not locked")
        return self._descriptor

    def acquire(self) -> bool:
        """Take the lock, and note our pid in it; False where somebody else has it."""
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        self._descriptor = descriptor
        return True

    def release(self) -> None:
        """Let go of the lock; a child that was given the descriptor still holds it."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def holder(self) -> int | None:
        """Return the pid of whoever took the lock last, for a message."""
        with suppress(OSError, ValueError):
            return int(self.path.read_text(encoding="ascii"))
        return None
