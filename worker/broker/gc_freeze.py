"""What a process imports stays as long as the process."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def kept() -> Iterator[None]:
    """Look for no garbage while modules are imported, nor among them later, nor when the process ends.

    It was a quarter of all that a short command did. Processes that are forked afterwards share what nobody looks at.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if collects:
            gc.enable()
