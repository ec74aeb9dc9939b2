"""A connector of every healthy account: it reads each token from Redis every second, and shows some to the server."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from refreshd_reader import NoUsableToken, Reader, Token, WaitTimedOut
from tests.servers.running import RunningServer

_LOOK_EACH_S: Final = 1.0
#: A connector whose token was replaced while it was used reads again, and waits so long for another one.
_REPLACED_WITHIN_S: Final = 5.0


@dataclass
class Seen:
    """What was seen of one account."""

    reads: int = 0
    #: By the name of the reader's error.
    absent: Counter[str] = field(default_factory=Counter)
    shown: int = 0
    refused: int = 0
    first_generation: int = 0
    last_generation: int = 0

    @property
    def refreshes(self) -> int:
        return self.last_generation - self.first_generation


class Watcher:
    """Polls accounts, and remembers what it saw of each."""

    def __init__(self, reader: Reader, accounts: Mapping[str, RunningServer]) -> None:
        self._reader = reader
        self._accounts = accounts
        self.seen = {account: Seen() for account in accounts}

    def all_there(self) -> bool:
        """Return whether every account has a token."""
        found = self._reader.get_many(self._accounts)
        return not any(isinstance(token, NoUsableToken) for token in found.values())

    def watch(self, seconds: float) -> None:
        """Poll once a second; each second another account shows its token to its server."""
        ids, ends_at = list(self._accounts), time.monotonic() + seconds
        look = 0
        while (began := time.monotonic()) < ends_at:
            for account, token in self._reader.get_many(ids).items():
                self._note(account, token)
            self.show(ids[look % len(ids)])
            look += 1
            time.sleep(max(0.0, _LOOK_EACH_S - (time.monotonic() - began)))

    def show(self, account: str) -> None:
        """Show an account's token to its server, and where it was just replaced, the next one."""
        server, seen = self._accounts[account], self.seen[account]
        try:
            token = self._reader.get(account)
            seen.shown += 1
            if server.accepts(token.access_token):
                return
            newer = self._reader.wait_for(account, newer_than=token.generation, timeout_s=_REPLACED_WITHIN_S)
            seen.refused += not server.accepts(newer.access_token)
        except WaitTimedOut:
            seen.refused += 1
        except NoUsableToken as error:
            seen.absent[type(error).__name__] += 1

    def _note(self, account: str, token: Token | NoUsableToken) -> None:
        seen = self.seen[account]
        seen.reads += 1
        if isinstance(token, NoUsableToken):
            seen.absent[type(token).__name__] += 1
            return
        seen.first_generation = seen.first_generation or token.generation
        seen.last_generation = max(seen.last_generation, token.generation)
