"""A connector that is never satisfied: it reads each account's token every second, and shows some to the server."""

from __future__ import annotations

import math
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

import httpx

from refreshd_reader import NoUsableToken, Reader
from tests.oidc.server import AuthorizationServer

#: Of the tokens read in one second so many are shown to the server, another part each second.
_SHOWN_EACH_SECOND: Final = 10
_ANSWER_S: Final = 5.0


@dataclass(slots=True)
class Seen:
    """What the watcher saw."""

    reads: int = 0
    #: By the name of the reader's error.
    absent: Counter[str] = field(default_factory=Counter)
    expired: int = 0
    #: Tokens that were shown to the server, and those among them that it did not take.
    shown: int = 0
    refused: int = 0
    #: A generation that was lower than one seen before.
    went_back: int = 0
    shortest_left_s: float = math.inf
    longest_look_s: float = 0.0

    @property
    def flawless(self) -> bool:
        return not (self.absent or self.expired or self.refused or self.went_back)

    def __str__(self) -> str:
        return (
            f"{self.reads} reads, {self.absent.total()} absent, {self.expired} expired, "
            f"{self.refused} of {self.shown} refused, at least {self.shortest_left_s:.1f} s left"
        )

    def to_json(self) -> dict[str, Any]:
        """Return what was seen."""
        return {
            "reads": self.reads,
            "absent": dict(self.absent),
            "expired": self.expired,
            "shown_to_the_server": self.shown,
            "refused_by_the_server": self.refused,
            "generations_that_went_back": self.went_back,
            "shortest_lifetime_left_s": round(self.shortest_left_s, 2),
            "longest_look_s": round(self.longest_look_s, 3),
        }


class Watcher:
    """Looks at every account's token at once, again and again."""

    def __init__(self, reader: Reader, server: AuthorizationServer, ids: list[str]) -> None:
        self._reader = reader
        self._server = server
        self._ids = ids
        self._http = httpx.Client(timeout=_ANSWER_S)
        self._generations: dict[str, int] = {}
        self._looks = 0
        self.seen = Seen()

    def close(self) -> None:
        self._http.close()

    def look(self) -> None:
        """Read each account's token."""
        began = time.monotonic()
        found = self._reader.get_many(self._ids)
        now, seen = time.time(), self.seen
        seen.longest_look_s = max(seen.longest_look_s, time.monotonic() - began)
        seen.reads += len(found)
        for account, token in found.items():
            if isinstance(token, NoUsableToken):
                seen.absent[type(token).__name__] += 1
                continue
            left_s = math.inf if token.expires_at is None else token.expires_at - now
            seen.expired += left_s <= 0
            seen.shortest_left_s = min(seen.shortest_left_s, left_s)
            seen.went_back += token.generation < self._generations.get(account, 0)
            self._generations[account] = token.generation
            if self._its_turn(account):
                self._show(token.access_token)
        self._looks += 1

    def generations(self) -> dict[str, int]:
        """Return the last generation that was seen of each account."""
        return {account: self._generations.get(account, 0) for account in self._ids}

    def _its_turn(self, account: str) -> bool:
        first = self._looks * _SHOWN_EACH_SECOND
        return (self._ids.index(account) - first) % len(self._ids) < _SHOWN_EACH_SECOND

    def _show(self, access_token: str) -> None:
        answer = self._http.get(
            self._server.userinfo_url, headers={"authorization": f"Bearer {access_token}"}
        )
        self.seen.shown += 1
        self.seen.refused += not answer.is_success
