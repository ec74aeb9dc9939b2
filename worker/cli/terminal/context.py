"""The stores that a command works on, opened by the settings of its environment."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from worker.context import AppContext
from worker.settings import load_settings


def stores() -> AppContext:
    """Open what a command needs."""
    return AppContext(load_settings())


@contextmanager
def open_stores() -> Iterator[AppContext]:
    """Open the stores for a command; connections are closed behind it."""
    here = stores()
    try:
        yield here
    finally:
        here.close()
