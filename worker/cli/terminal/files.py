"""Files that commands write."""

from __future__ import annotations

from pathlib import Path

from worker.errors import UsageError


def require_no_device(path: Path) -> None:
    """Check that a path names a file, or nothing yet: a whole file is put in its place, which would end a device or a pipe.

    Raises:
        UsageError: it names one of these, such as /dev/stdout.
    """
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise UsageError(f"{path}: can't be written: it is a device or a pipe; name a file")
