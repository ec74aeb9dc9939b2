"""Who may call a provider while others fail there: the gate of an origin, and the gate of a client. Pure.

A gate keeps a sick provider from being hammered, and must never be what makes a healthy account sick:

- It closes on evidence of several accounts that had succeeded before (`EVIDENCE`), with no success between them.
  Accounts that never succeeded are no such evidence: where it needs them, the gate holds only their like, and accounts
  that fail. A 429 closes the client's own gate at once, and the origin's once a second client hears it too.
- A closed gate delays healthy accounts (the last call succeeded, or there was none), soonest to end first, at a
  trickle (`calls_per_s`). Each of these calls is a probe: one success opens the gate.
- An account whose last call failed waits for the gate to open. Where no healthy account is due, one of them probes
  now and then: never the one that failed last.
- Calls that a person forced or a connector's report asked for pass every gate.

Whoever waits is held in SQL (`account.held_by`); the planner picks whom to send next (`worker/scheduling/planner.py`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import asdict, fields, replace

from models.rate_limit import WaitReason

#: So many different accounts that had succeeded before have to fail, with no success between, before a gate closes.
EVIDENCE: Final = 3
#: Calls a second that healthy accounts make through a closed gate, where the provider's data name no rate.
TRICKLE_PER_S: Final = 5.0
#: A trickle lets a second's worth through at once.
_BURST_S: Final = 1.0
#: A healthy account whose token ends within this time does not wait until the planner picks it.
URGENT_S: Final = 5.0
#: After a gate had to hold a healthy account, the planner alone says who is next for this long: it sees everybody.
CONTENDED_S: Final = 5.0
#: A gate that has opened brings back twice as many accounts every so many seconds: an origin that is well again, with half a
#: million accounts whose tokens have ended, is not to be hammered, and not to be made to wait for hours.
RELEASE_DOUBLES_S: Final = 10.0
#: A gate is known to have opened for this long: enough for millions of accounts to come back.
OPENING_S: Final = 600.0
#: In the last seconds of a pause only accounts are called whose token ends before it does: the others come when it is
#: over, in the order in which their tokens end.
PAUSE_ENDS_S: Final = 2.0
#: First and longest time between probes of accounts whose own last call failed, seconds.
PROBE_S: Final = {WaitReason.DOWN: (5.0, 60.0), WaitReason.REFUSED: (60.0, 3600.0)}
#: 2 ** this is beyond every longest time.
_DOUBLINGS_MAX: Final = 20
#: Where nobody else is there to probe, the account that failed last may, after this much more time.
LAST_FAILED_WAIT_S: Final = 60.0


class Gate(Struct, frozen=True):
    """The state of one gate. Times are epoch seconds of the database's clock; a gate without a cause is open."""

    #: Accounts that had succeeded before and failed here since the last success.
    evidence: tuple[str, ...] = ()
    #: Accounts that never succeeded and failed here since the last success.
    doubts: tuple[str, ...] = ()
    #: It holds accounts that succeeded before, too: there is evidence of enough of their like.
    for_all: bool = False
    #: Clients that heard a 429 here, each with the end of its pause (the origin's gate only).
    throttled: tuple[tuple[str, float], ...] = ()
    cause: WaitReason | None = None
    #: The verdict's reason of the failure that closed it.
    reason: str = ""
    since: float = 0.0
    #: The account whose failure closed it.
    by: str = ""
    #: A pause ends by itself at this time; otherwise the next probe of a failing account is due then.
    until: float = 0.0
    #: Failures since it closed that put the next probe off.
    failures: int = 0
    #: The account that failed last: it does not probe.
    last_failed: str = ""
    #: The trickle's bucket (GCRA): the time at which it is whole again.
    trickle_whole_at: float = 0.0
    calls_per_s: float = TRICKLE_PER_S
    #: When it last had to hold a healthy account because others were before it.
    contended_at: float = 0.0
    #: When it opened; 0: long ago, or it was never closed.
    opened_at: float = 0.0
    #: Whose gate it is, for people: the provider's name, and the client's id where the gate is a client's.
    provider: str = ""
    client_id: str = ""

    def is_closed(self, now: float) -> bool:
        """Return whether accounts are held. A pause ends by itself."""
        return self.cause is not None and not (self.cause is WaitReason.THROTTLED and self.until <= now)

    def failed(self, failure: Failure) -> Gate:
        """Return the gate after a call that found the origin down, or its client refused."""
        if failure.proven:
            noted = replace(self, evidence=_with(self.evidence, failure.account))
        else:
            noted = replace(self, doubts=_with(self.doubts, failure.account))
        for_all = len(noted.evidence) >= EVIDENCE
        if self.cause is failure.cause:
            return replace(
                noted,
                for_all=for_all or self.for_all,
                last_failed=failure.account,
                **self._put_off(failure.now),
            )
        enough = len({*noted.evidence, *noted.doubts}) >= EVIDENCE
        if not enough or self.is_closed(failure.now):
            return noted
        first_s, _ = PROBE_S[failure.cause]
        return replace(noted.closed(failure, failure.now + first_s), for_all=for_all)

    def paused(self, failure: Failure, until: float, *, clients: int) -> Gate:
        """Return the gate after a 429: closed until then, once so many different clients heard it."""
        live = {client: end for client, end in self.throttled if end > failure.now}
        live[failure.client_id] = max(until, live.get(failure.client_id, 0.0))
        heard = replace(self, throttled=tuple(live.items()))
        if len(live) < clients or (heard.is_closed(failure.now) and self.cause is not WaitReason.THROTTLED):
            return heard
        if heard.is_closed(failure.now):
            return replace(heard, until=max(until, heard.until), last_failed=failure.account)
        return replace(heard.closed(failure, until), for_all=True)

    def answered(self, now: float) -> Gate:
        """Return the gate after an answer that is no token, but shows that the origin (or the client) is well."""
        if self.cause is WaitReason.THROTTLED:
            return replace(self, evidence=(), doubts=())
        return Gate(throttled=self.throttled, opened_at=self._opened(now))

    def succeeded(self, sent_at: float) -> Gate:
        """Return the gate after a success: open, unless the call was on its way before a 429 paused the others."""
        if self.cause is WaitReason.THROTTLED and self.since > sent_at:
            return replace(self, evidence=(), doubts=())
        return Gate(opened_at=self._opened(sent_at))

    def _opened(self, now: float) -> float:
        """Return when the gate opened, for the gate that it is after a call showed its origin well."""
        if self.cause is not None:
            return now
        return self.opened_at if now - self.opened_at < OPENING_S else 0.0

    def released_per_s(self, now: float, first: float) -> float:
        """Return how many accounts a second come back from an open gate: so many at first, and more while it stays open.

        After a pause fewer at first, and twice as many each second: calls that go out together arrive in any order, and whose
        token ended first shall be first. The first success forgets the pause.
        """
        if self.cause is not WaitReason.THROTTLED:
            open_s = max(now - self.opened_at, 0.0) if self.opened_at else 0.0
            return first * 2.0 ** min(int(open_s / RELEASE_DOUBLES_S), _DOUBLINGS_MAX)
        # The first plan after a pause comes up to two seconds after its end.
        doublings = min(max(int(now - self.until) - 1, 0), _DOUBLINGS_MAX)
        return min(self.calls_per_s * 2.0**doublings, first)

    def trickle_left(self, now: float) -> int:
        """Return how many calls of healthy accounts the trickle lets through now."""
        gap = 1 / self.calls_per_s
        return max(int((now + max(gap, _BURST_S) - max(self.trickle_whole_at, now)) / gap + 1e-6), 0)

    def probe_due(self, now: float) -> bool:
        """Return whether an account whose own last call failed may try whether it is over."""
        return self.cause is not WaitReason.THROTTLED and self.until <= now

    def takes(self, ask: Ask, now: float, call_s: float) -> Gate | None:
        """Return the gate after it let an account call, None where the account has to wait."""
        if not self.is_closed(now) or ask.by_hand or (ask.healthy and ask.proven and not self.for_all):
            return self
        if ask.healthy:
            contended = now - self.contended_at < CONTENDED_S
            in_turn = ask.picked or ask.ends_within(URGENT_S, now) or not contended
            if not in_turn or not self.trickle_left(now) or self._waits_for_the_end(ask, now):
                return None
            return replace(self, trickle_whole_at=max(self.trickle_whole_at, now) + 1 / self.calls_per_s)
        waits_s = LAST_FAILED_WAIT_S if ask.account == self.last_failed else 0.0
        if not ask.picked or not self.probe_due(now - waits_s):
            return None
        return replace(self, until=now + call_s)  # one probe at a time, until it is back or its time is over

    def _waits_for_the_end(self, ask: Ask, now: float) -> bool:
        if self.cause is not WaitReason.THROTTLED or self.until - now > PAUSE_ENDS_S:
            return False
        return ask.ends_at is None or not now < ask.ends_at < self.until

    def held(self, ask: Ask, now: float) -> Gate:
        """Return the gate after it had to hold an account: a healthy one shows that there are more than it lets through."""
        if not ask.healthy or not self.is_closed(now) or now - self.contended_at < 1.0:
            return self
        return replace(self, contended_at=now)

    def closed(self, failure: Failure, until: float) -> Gate:
        """Return the gate as a failure closes it, until then."""
        calls_per_s = failure.calls_per_s or TRICKLE_PER_S
        return replace(
            self,
            cause=failure.cause,
            reason=failure.reason,
            since=failure.now,
            by=failure.account,
            until=until,
            failures=0,
            opened_at=0.0,
            last_failed=failure.account,
            # The calls that were its evidence have used up the first second of the trickle.
            trickle_whole_at=failure.now + max(_BURST_S, 1 / calls_per_s),
            calls_per_s=calls_per_s,
            provider=failure.provider,
            client_id=failure.client_id,
        )

    def _put_off(self, now: float) -> dict[str, Any]:
        """Return when the next probe is due after one more failure: twice as long each time."""
        if self.cause is None:
            return {}
        first_s, longest_s = PROBE_S[self.cause]
        pause_s = min(first_s * 2.0 ** min(self.failures, _DOUBLINGS_MAX), longest_s)
        return {"until": now + pause_s, "failures": self.failures + 1}

    def dump(self) -> str:
        """Return the gate as Redis keeps it: empty where there is nothing to keep."""
        kept = {name: value for name, value in asdict(self).items() if value != _DEFAULTS[name]}
        return json.dumps(kept, separators=(",", ":")) if kept else ""

    @classmethod
    def load(cls, text: str) -> Gate:
        """Read what `dump` returned. What can't be read is an open gate: it delays nobody."""
        try:
            found = json.loads(text) if text else {}
            known = {name: found[name] for name in _DEFAULTS if name in found}
            for name in ("evidence", "doubts"):
                known[name] = tuple(map(str, known.get(name, ())))
            known["throttled"] = tuple((str(c), float(end)) for c, end in known.get("throttled", ()))
            if known.get("cause") is not None:
                known["cause"] = WaitReason(known["cause"])
            return cls(**known)
        except (TypeError, ValueError, KeyError):
            return cls()


def _with(accounts: tuple[str, ...], account: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*accounts, account)))[-EVIDENCE:]


_DEFAULTS: Final = {field.name: field.default for field in fields(Gate)}


class Failure(Struct, frozen=True, kw_only=True):
    """One account's call that says something of its origin or of its client."""

    account: str
    cause: WaitReason
    #: The verdict's reason.
    reason: str
    #: The account had succeeded before: one that never worked is no evidence.
    proven: bool
    now: float
    client_id: str = ""
    provider: str = ""
    #: The provider's own rate; None where its data name none.
    calls_per_s: float | None = None


class Ask(Struct, frozen=True, kw_only=True):
    """One account that wants to call."""

    account: str
    #: Its last call did not fail.
    healthy: bool
    #: A call of its succeeded before.
    proven: bool = True
    #: End of its token, epoch seconds; None where unknown.
    ends_at: float | None = None
    #: It was held, and the planner picked it as the next one.
    picked: bool = False
    #: A person forced it, or a connector reported its current token.
    by_hand: bool = False

    def ends_within(self, seconds: float, now: float) -> bool:
        return self.ends_at is not None and self.ends_at <= now + seconds


def admit(
    gates: Mapping[str, Gate], asks: Sequence[Ask], *, now: float, call_s: float
) -> tuple[dict[str, Gate], list[str | None]]:
    """Return the gates after those that may call were let through, and for each ask the gate that holds it.

    Args:
        gates: name -> state of each gate that the accounts have to pass; all of them pass the same ones.
        asks: who wants to call, soonest to end first.
        now: epoch seconds.
        call_s: how long a call may take, seconds.
    """
    left, held = dict(gates), list[str | None]()
    for ask in asks:
        passed = {name: gate.takes(ask, now, call_s) for name, gate in left.items()}
        held.append(next((name for name, gate in passed.items() if gate is None), None))
        if held[-1] is None:
            left |= {name: gate for name, gate in passed.items() if gate is not None}
        else:
            left[held[-1]] = left[held[-1]].held(ask, now)
    return left, held
