"""A small world of providers and accounts on the real gate policy, with a clock of its own."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field

from models.answer import Answer, Judgement, Verdict
from models.rate_limit import WaitReason
from models.token import Secret, TokenResponse
from worker.policy.gate_signals import Signal, pause_s, record, signal
from worker.policy.gates import Ask, Failure, Gate, admit

LIFETIME_S = 60.0
#: Accounts are due this long before their token ends.
MARGIN_S = 15.0
#: A 429 of this world asks to be left alone for this long.
RETRY_AFTER_S = 40.0
#: An account that fails by itself tries again after this long.
OWN_PAUSE_S = 10.0

_CAUSES = {
    Signal.DOWN: WaitReason.DOWN,
    Signal.REFUSED: WaitReason.REFUSED,
    Signal.THROTTLED: WaitReason.THROTTLED,
}

OK = (
    Answer(status=200, token=TokenResponse(access_token=Secret("t"))),
    Judgement(verdict=Verdict.REFRESHED, reason="refreshed"),
)
ANSWERS = {
    "503": (Answer(status=503), Judgement(verdict=Verdict.RETRY, reason="server_error")),
    "401": (Answer(status=401), Judgement(verdict=Verdict.MISCONFIGURED, reason="client_refused")),
    "404": (Answer(status=404), Judgement(verdict=Verdict.MISCONFIGURED, reason="not_found")),
    "429": (
        Answer(status=429, retry_after_s=RETRY_AFTER_S),
        Judgement(verdict=Verdict.RATE_LIMITED, reason="rate_limited", retry_after_s=RETRY_AFTER_S),
    ),
}


@dataclass
class Account:
    """One account, and what the row knows of it."""

    name: str
    origin: str
    client: str
    ends_at: float
    due_at: float
    proven: bool = True
    failed_at: float | None = None
    held_by: str | None = None
    #: How it is answered, whatever the others hear; None: as its origin and client are.
    sick: str | None = None
    #: It was well all the time since this, as were its origin and client.
    well_since: float = 0.0


@dataclass
class World:
    """Time goes by in seconds; each second is a plan, and calls are answered at once."""

    now: float = 0.0
    accounts: dict[str, Account] = field(default_factory=dict)
    gates: dict[str, Gate] = field(default_factory=dict)
    #: Origins and clients that answer so, whoever asks.
    sick: dict[str, str] = field(default_factory=dict)
    #: Calls of each second, by origin.
    calls: dict[int, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))

    def add(self, name: str, origin: str, client: str, *, proven: bool, life_s: float) -> None:
        self.accounts[name] = Account(
            name,
            origin,
            client,
            self.now + life_s,
            self.now + max(life_s - MARGIN_S, 0.0),
            proven,
            well_since=self.now,
        )

    def answer(self, account: Account) -> str | None:
        """Return how an account is answered now, None for a token."""
        return account.sick or self.sick.get(account.origin) or self.sick.get(account.client)

    def is_well(self, account: Account) -> bool:
        return self.answer(account) is None

    def pass_by(self, seconds: int) -> None:
        for _ in range(seconds):
            self.now += 1.0
            self._plan()

    def _plan(self) -> None:
        picked = self._picked()
        due = [one for one in self.accounts.values() if one.held_by is None and one.due_at <= self.now]
        for one in sorted({one.name: one for one in (*picked, *due)}.values(), key=lambda one: one.ends_at):
            self._ask(one)

    def _picked(self) -> list[Account]:
        """Do what the planner does with held accounts, in the order of `HeldAccounts`."""
        picked: list[Account] = []
        for name in sorted({one.held_by for one in self.accounts.values() if one.held_by}):
            gate = self.gates.get(name, Gate())
            held = sorted(
                (one for one in self.accounts.values() if one.held_by == name), key=lambda one: one.ends_at
            )
            if not gate.is_closed(self.now):
                for one in held[:50]:
                    one.held_by = None
                    one.due_at = min(one.due_at, self.now) if one.failed_at is None else one.due_at
                continue
            picked += [one for one in held if one.failed_at is None][: gate.trickle_left(self.now)]
            if gate.probe_due(self.now):
                order = sorted(
                    held,
                    key=lambda one: (
                        one.name == gate.last_failed,
                        one.failed_at is not None,
                        not one.proven,
                        one.failed_at or 0.0,
                    ),
                )
                picked += order[:1]
        return picked

    def _ask(self, account: Account, *, by_hand: bool = False) -> None:
        names = (account.origin, f"{account.origin}|{account.client}")
        ask = Ask(
            account=account.name,
            healthy=account.failed_at is None,
            proven=account.proven,
            ends_at=account.ends_at,
            picked=account.held_by is not None,
            by_hand=by_hand,
        )
        before = {name: self.gates.get(name, Gate()) for name in names}
        left, (held,) = admit(before, [ask], now=self.now, call_s=45.0)
        self.gates |= left
        if held is not None:
            account.held_by = held
            return
        self._call(account, names)

    def force(self, name: str) -> None:
        self._ask(self.accounts[name], by_hand=True)

    def _call(self, account: Account, names: tuple[str, str]) -> None:
        self.calls[int(self.now)][account.origin] += 1
        answer, judgement = ANSWERS.get(self.answer(account) or "", OK)
        found = signal(answer, judgement)
        failure = Failure(
            account=account.name,
            cause=_CAUSES.get(found, WaitReason.DOWN),
            reason=judgement.reason,
            proven=account.proven,
            now=self.now,
            client_id=account.client,
        )
        origin, client = record(
            self.gates.get(names[0], Gate()),
            self.gates.get(names[1], Gate()),
            found,
            failure,
            pause_s(judgement),
        )
        self.gates |= {names[0]: origin, names[1]: client}
        if found is Signal.SUCCEEDED:
            account.proven, account.failed_at, account.held_by = True, None, None
            account.ends_at, account.due_at = self.now + LIFETIME_S, self.now + LIFETIME_S - MARGIN_S
            return
        account.failed_at, account.due_at = self.now, self.now + OWN_PAUSE_S
        account.held_by = next((name for name in names if self.gates[name].is_closed(self.now)), None)
