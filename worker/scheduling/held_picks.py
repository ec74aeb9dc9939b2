"""Accounts that a plan sends through closed gates, or brings back from open ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from worker.db.claims import DueAccount
from worker.db.planning.held_accounts import HeldAccounts
from worker.policy.gates import Gate
from worker.policy.rate_limits import ASSUMED_REQUESTS_PER_S

#: One plan looks at no more gates than this; with more, each plan begins at another one.
GATES_MAX: Final = 200
#: One plan brings back no more accounts of a gate: as many as it claims of those that are due.
RELEASED_MAX: Final = 5_000
#: Tokens of accounts that come back have mostly ended, so that they go first. They take no more than this share of what workers
#: begin: healthy accounts elsewhere, whose tokens live for seconds, do not wait for half a million of them.
RELEASED_SHARE: Final = 0.5


class HeldPicks:
    """Picks held accounts: one place that sees all accounts of a gate keeps the order of need.

    Args:
        accounts: the SQL of held accounts.
        gates: reads gates by name.
        now: the database's clock, epoch seconds.
        interval_s: seconds between two plans.
        begun_per_s: returns how many accounts workers begin a second.
    """

    def __init__(
        self,
        accounts: HeldAccounts,
        gates: Callable[[Sequence[str]], dict[str, Gate]],
        now: Callable[[], float],
        interval_s: float,
        begun_per_s: Callable[[], float],
    ) -> None:
        self._accounts = accounts
        self._gates = gates
        self._now = now
        self._interval_s = interval_s
        self._begun_per_s = begun_per_s

    def pick(self, *, hold_s: float) -> list[DueAccount]:
        """Claim the accounts that closed gates let through next; release accounts of open gates, soonest to end first.

        Raises:
            DatabaseUnreachable, RedisUnreachable: no account is picked.
        """
        names = self._accounts.gates()
        if not names:
            return []
        now, picked = self._now(), list[DueAccount]()
        spare: float | None = None
        first = int(now) % len(names) if len(names) > GATES_MAX else 0
        for name, gate in self._gates([*names[first:], *names[:first]][:GATES_MAX]).items():
            if not gate.is_closed(now):
                per_s = gate.released_per_s(now, ASSUMED_REQUESTS_PER_S)
                if per_s > ASSUMED_REQUESTS_PER_S:
                    spare = self._begun_per_s() * RELEASED_SHARE if spare is None else spare
                    per_s = min(per_s, max(spare, ASSUMED_REQUESTS_PER_S))
                    spare -= per_s
                self._accounts.release(name, min(max(round(per_s * self._interval_s), 1), RELEASED_MAX))
                continue
            if room := gate.trickle_left(now):
                picked += self._accounts.claim_healthy(name, room, hold_s=hold_s)
            if gate.probe_due(now):
                picked += self._accounts.claim_probe(name, last_failed=gate.last_failed, hold_s=hold_s)
        return picked
