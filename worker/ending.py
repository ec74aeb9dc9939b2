"""Whether this worker has been asked to end: noted by the process that the signal reaches, seen by all of its pool."""

from __future__ import annotations

import mmap
from typing import Final

#: One byte, shared with the processes that are forked from this one.
_asked: Final = mmap.mmap(-1, 1)


def note_end() -> None:
    """Note that the worker ends: it begins nothing new."""
    _asked[0] = 1


def is_ending() -> bool:
    """Return whether the worker ends."""
    return _asked[0] != 0
