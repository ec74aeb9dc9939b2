"""A connector that reads one account after another while servers fail, and what it met."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from refreshd_reader import NoUsableToken, Reader, RedisUnreachable

READ_EVERY_S: Final = 0.05


class Reads:
    """Reads from a thread of its own.

    Args:
        url: where tokens are published.
        accounts: whose; each has a token already.
    """

    def __init__(self, url: str, accounts: Sequence[str]) -> None:
        self.url = url
        self.tokens = 0
        self.absent: list[str] = []
        self.longest_outage_s = 0.0
        self._accounts = accounts

    @contextmanager
    def going_on(self) -> Iterator[None]:
        """Read for as long as the block runs."""
        stopping = threading.Event()
        thread = threading.Thread(target=self._read, args=[stopping])
        thread.start()
        try:
            yield
        finally:
            stopping.set()
            thread.join()

    def _read(self, stopping: threading.Event) -> None:
        worked_at, turn = time.monotonic(), 0
        with Reader.from_url(self.url, timeout_s=1) as reader:
            while not stopping.wait(READ_EVERY_S):
                try:
                    reader.get(self._accounts[turn % len(self._accounts)])
                except RedisUnreachable:  # the same one again: others may be on a node that is there
                    continue
                except NoUsableToken as error:
                    self.absent.append(str(error))
                    continue
                turn += 1
                self.tokens += 1
                now = time.monotonic()
                self.longest_outage_s = max(self.longest_outage_s, now - worked_at)
                worked_at = now
