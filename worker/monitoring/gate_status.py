"""Gates that hold accounts now, for `status`, `doctor` and `explain`."""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace
from redis import Redis
from sqlalchemy import Engine

from models.rate_limit import WaitReason
from worker.db.planning.held_accounts import Held, HeldAccounts
from worker.durations import duration
from worker.policy.gates import Gate
from worker.policy.lane import is_clients, origin_of_gate
from worker.policy.rate_limits import ASSUMED_REQUESTS_PER_S
from worker.redis.gates import read_gates

#: Gates whose accounts are counted one by one; the exporter counts them all.
GATES_MAX: Final = 20
#: An account that a reader may not learn of.
ANOTHER: Final = "another account"

_WHY: Final = {
    WaitReason.DOWN: "it was down for several accounts",
    WaitReason.REFUSED: "the client was refused for several accounts",
    WaitReason.THROTTLED: "it asked to be left alone",
}


class GateStatus(Struct, frozen=True, kw_only=True):
    """A closed gate, and the accounts that it holds."""

    name: str
    gate: Gate
    held: Held
    #: The healthy account that is called next, and the account that probes next.
    next_call: str | None = None
    next_probe: str | None = None

    @property
    def where(self) -> str:
        """The origin or client behind the gate, for people."""
        origin = origin_of_gate(self.name)
        return (
            f"client {self.gate.client_id or 'without an id'} at {origin}"
            if is_clients(self.name)
            else origin
        )

    def sentence(self, now: float) -> str:
        """Return why the gate is closed, and since when."""
        gate = self.gate
        why = _WHY[gate.cause or WaitReason.DOWN]
        ends = f" until {duration(gate.until - now)} from now" if gate.cause is WaitReason.THROTTLED else ""
        return f"{self.where}: {why} ({gate.reason}) {duration(now - gate.since)} ago, {gate.by or ANOTHER} last of them{ends}"

    def next_words(self, now: float) -> str:
        """Return which account is called next and when."""
        gate, words = self.gate, []
        if self.next_call is not None and self.held.healthy:
            words.append(f"{self.next_call} is called within a second or two, as its token ends soonest")
        if gate.cause is WaitReason.THROTTLED:
            words.append(f"the pause ends in {duration(max(gate.until - now, 0.0))}")
        elif self.next_probe is not None:
            when = f"in {duration(gate.until - now)}" if gate.until > now else "now"
            words.append(f"{self.next_probe} probes {when}")
        return "; ".join(words)

    def named_to(self, ids: Container[str]) -> GateStatus:
        """Return what a reader who may learn of these accounts alone learns of the gate: no other one is named."""
        call, probe = (
            one if one is None or one in ids else ANOTHER for one in (self.next_call, self.next_probe)
        )
        by = self.gate.by if self.gate.by in ids else ""
        return replace(self, gate=replace(self.gate, by=by), next_call=call, next_probe=probe)

    def as_json(self) -> dict[str, Any]:
        """Return the gate for scripts. Times are epoch seconds."""
        gate = self.gate
        return {
            "gate": self.name,
            "origin": origin_of_gate(self.name),
            "client_id": gate.client_id if is_clients(self.name) else None,
            "provider": gate.provider,
            "cause": None if gate.cause is None else gate.cause.value,
            "reason": gate.reason,
            "since": gate.since,
            "until": gate.until,
            "closed_by": gate.by,
            "holds": self.held.accounts,
            "healthy": self.held.healthy,
            "without_token": self.held.ended,
            "too_many": self.held.too_many,
            "calls_per_s": gate.calls_per_s,
            "next_call": self.next_call,
            "next_probe": self.next_probe,
        }


class Returning(Struct, frozen=True, kw_only=True):
    """An open gate whose accounts have not all come back yet."""

    name: str
    accounts: int
    #: So many come back a second at most; fewer where workers do not keep up.
    per_s: float

    @property
    def sentence(self) -> str:
        """Return whose accounts come back, and how fast."""
        origin = origin_of_gate(self.name)
        where = f"a client at {origin}" if is_clients(self.name) else origin
        accounts = f"{self.accounts:,} account{'' if self.accounts == 1 else 's'}"
        return f"{where}: {accounts} to come back, at most {self.per_s:,.0f} a second, soonest to end first"

    def as_json(self) -> dict[str, Any]:
        """Return it for scripts."""
        return {"gate": self.name, "accounts": self.accounts, "per_s": self.per_s}


def look_at_opened_gates(engine: Engine, redis: Redis, prefix: str, *, now: float) -> list[Returning]:
    """Return the gates that have opened and whose accounts are on their way back, most accounts first.

    Raises:
        RedisError: Redis is away.
        DatabaseUnreachable: the database is away.
    """
    held = HeldAccounts(engine)
    opened = [gate for gate in read_gates(redis, prefix, held.gates()).items() if not gate[1].is_closed(now)]
    found = [
        Returning(
            name=name,
            accounts=held.count(name, calls_per_s=gate.calls_per_s).accounts,
            per_s=gate.released_per_s(now, ASSUMED_REQUESTS_PER_S),
        )
        for name, gate in opened[:GATES_MAX]
    ]
    return sorted((one for one in found if one.accounts), key=lambda one: -one.accounts)


def look_at_gates(
    engine: Engine, redis: Redis, prefix: str, *, now: float, names: Sequence[str] | None = None
) -> list[GateStatus]:
    """Return the closed gates that hold accounts, most accounts first.

    Args:
        engine: the database.
        redis: where gates are kept.
        prefix: of all keys.
        now: epoch seconds of the database's clock.
        names: read only these, whether or not they hold accounts.

    Raises:
        RedisError: Redis is away.
        DatabaseUnreachable: the database is away.
    """
    accounts = HeldAccounts(engine)
    wanted = accounts.gates() if names is None else list(names)
    closed = {name: gate for name, gate in read_gates(redis, prefix, wanted).items() if gate.is_closed(now)}
    found = []
    for name, gate in list(closed.items())[:GATES_MAX]:
        held = accounts.count(name, calls_per_s=gate.calls_per_s)
        call, probe = accounts.next_of(name, last_failed=gate.last_failed)
        found.append(GateStatus(name=name, gate=gate, held=held, next_call=call, next_probe=probe))
    return sorted(found, key=lambda one: -one.held.accounts)
