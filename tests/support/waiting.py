"""Waiting for what real processes bring about: a condition with a deadline, never a sleep for luck."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

_LOOK_S: Final = 0.05
#: Longer than anything takes on a busy machine with 2 cores; a test that fails waits this long, no other does.
PATIENCE_S: Final = 120.0


def wait_until(condition: Callable[[], bool], what: str, within_s: float = PATIENCE_S) -> None:
    """Wait until a condition holds.

    Raises:
        AssertionError: it did not, in time.
    """
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within_s:g} s: {what}")
        time.sleep(_LOOK_S)
