"""The stores that a command works on, opened by the settings of its environment."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from worker.context import Stores
from worker.settings import load_settings


def stores() -> Stores:
    """Open what a command needs."""
    return Stores(load_settings())


@contextmanager
def open_stores() -> Iterator[Stores]:
    """Open the stores for a command; connections are closed behind it."""
    here = stores()
    try:
        yield here
    finally:
        here.close()
