"""Tokens cached in the process while they are certainly the ones in Redis."""

from __future__ import annotations

import threading
from time import monotonic

from refreshd_reader.contract import Announcement, Token
from refreshd_reader.errors import NoUsableToken
from refreshd_reader.state import Look

#: A heartbeat on the subscription keeps the cache valid this long, seconds after it was sent. A connection
#: that dies silently (no FIN, no RST) can hide a new generation no longer than this.
VOUCH_S = 3.0


class TokenCache:
    """Tokens by account, served only while a live subscription proves that none was replaced.

    An entry ends with its token (counted on the monotonic clock from what Redis said of the key's life, so
    a wrong wall clock changes nothing) and is dropped when a newer generation is announced.
    A token that was read before an announcement arrived is not kept: `begin` before the read and `keep` after it
    notice what was announced in between.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._entries: dict[str, tuple[Token, float]] = {}
        self._reads: dict[str, object] = {}
        self._vouched_until = 0.0
        self._lock = threading.Lock()

    def get(self, account: str, min_lifetime_s: float) -> Token | None:
        """Return the account's token if it is certainly current and lasts long enough. No lock: hot path."""
        entry = self._entries.get(account)
        if entry is None:
            return None
        now = monotonic()
        if now < self._vouched_until and now + min_lifetime_s < entry[1]:
            return entry[0]
        return None

    def begin(self, account: str) -> object:
        """Note that a read of this account is about to be sent; return its mark for `keep`."""
        read = object()
        with self._lock:
            self._reads[account] = read
        return read

    def keep(self, account: str, read: object, seen: Look | NoUsableToken | None, sent_at: float) -> None:
        """Store the token of a read unless something was announced since `begin`.

        Args:
            account: the account that was read.
            read: what `begin` returned.
            seen: the result of the read; None if it failed.
            sent_at: when the read was sent, on the monotonic clock: the token's life counts from there.
        """
        with self._lock:
            if self._reads.get(account) is not read:
                return
            del self._reads[account]
            self._entries.pop(account, None)
            if not isinstance(seen, Look) or seen.token is None:
                return
            if len(self._entries) >= self._size:
                del self._entries[next(iter(self._entries))]
            self._entries[account] = (seen.token, sent_at + seen.lifetime_s)

    def announced(self, announcement: Announcement) -> None:
        """Drop an account unless the announced generation is the cached one."""
        with self._lock:
            self._reads.pop(announcement.account, None)
            entry = self._entries.get(announcement.account)
            if entry is not None and entry[0].generation != announcement.generation:
                del self._entries[announcement.account]

    def drop(self, account: str) -> None:
        """Drop one account: something newer is in Redis."""
        with self._lock:
            self._reads.pop(account, None)
            self._entries.pop(account, None)

    def clear(self) -> None:
        """Drop everything, and serve nothing until the next heartbeat: announcements may have been missed."""
        with self._lock:
            self._vouched_until = 0.0
            self._reads.clear()
            self._entries.clear()

    def vouch(self, heartbeat_sent_at: float) -> None:
        """Serve cached tokens: until this heartbeat was sent, no announcement was missed."""
        self._vouched_until = heartbeat_sent_at + VOUCH_S

    def after_fork(self) -> None:
        """Start empty in a forked child, which has no subscription; another thread may have held the lock."""
        self._lock = threading.Lock()
        self.clear()
