"""Which answers were lost because this run made it so, and which losses are refreshd's own.

An answer that the provider gave and no process could store, because the run dropped it or killed the process
that was waiting for it, is an *injected lost answer*: the refresh token is spent and nobody has the new one. A
provider that revokes on reuse then ends the grant; no client can prevent that. Everything else counts.
"""

from __future__ import annotations

import threading
from collections import Counter
from typing import Final

from tests.support.providers.grants import Call, Grant
from tests.support.providers.scripted_provider import ScriptedProvider

#: An answer is stored this long after its arrival at the latest, on a machine that does many things at once.
STORED_WITHIN_S: Final = 2.0


class Losses:
    """Judges every reuse and every lost grant. Used by the provider's thread and the run's."""

    def __init__(self, provider: ScriptedProvider) -> None:
        self._lock = threading.Lock()
        #: Injected lost answers, (account, spent serial).
        self._injected: set[tuple[str, int]] = set()
        self.injected: Counter[str] = Counter()
        #: Accounts whose readers may find nothing, because an answer of theirs was lost on purpose.
        self.mourning: set[str] = set()
        self.reuses_explained = 0
        self.reuses_unexplained: list[str] = []
        self.grants_lost_by_injection = 0
        self.grants_lost_unexplained: list[str] = []
        self.graceful_grants_lost: list[str] = []
        self._explained: set[str] = set()
        provider.on_lost = lambda call: self.inject(call, f"provider: {call.fault}")
        provider.on_reuse = self._reused

    def inject(self, call: Call, cause: str) -> None:
        """Note that nobody will get the answer to this call."""
        with self._lock:
            if (call.account, call.serial) not in self._injected:
                self._injected.add((call.account, call.serial))
                self.injected[cause] += 1
                self.mourning.add(call.account)

    def _reused(self, grant: Grant, call: Call) -> None:
        with self._lock:
            if (call.account, call.serial) in self._injected:
                self.reuses_explained += 1
                self._explained.add(call.account)
            else:
                self.reuses_unexplained.append(f"{call.account}: {call.serial} used again, {_story(grant)}")

    def grant_lost(self, grant: Grant, *, reason: str) -> None:
        """Note an account that refreshd has given up."""
        with self._lock:
            if grant.grace_s is not None:
                self.graceful_grants_lost.append(f"{grant.account}: {reason}, {_story(grant)}")
            elif grant.revoked and grant.account in self._explained:
                self.grants_lost_by_injection += 1
            else:
                self.grants_lost_unexplained.append(f"{grant.account}: {reason}, {_story(grant)}")
            self._explained.discard(grant.account)

    def over(self, account: str) -> None:
        """The account is well again: its readers must find tokens from now on."""
        with self._lock:
            self.mourning.discard(account)

    def expected(self, call: Call) -> bool:
        """Return whether the answer to this call was lost on purpose."""
        with self._lock:
            return (call.account, call.serial) in self._injected


def _story(grant: Grant) -> str:
    last = [
        f"{c.serial}->{c.granted} at {c.began_at:.1f} by {c.port}" + (f" ({c.fault})" if c.fault else "")
        for c in list(grant.calls)[-4:]
    ]
    return f"serial {grant.serial}, last calls: {'; '.join(last)}"
