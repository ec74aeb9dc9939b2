"""A fleet in simulated time: the real planner and its real SQL, a queue in memory, and workers of a known speed."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import Engine, text

from models.rate_limit import Limits
from models.tables.attempt import Trigger
from worker.broker.queues import CALLBACK, MESSAGE_EXPIRES_S
from worker.db.engine import writing
from worker.db.fleet_locks import FleetLock
from worker.db.planning.held_accounts import HeldAccounts
from worker.db.planning.pauses import Pauses
from worker.db.planning.schedule import Schedule
from worker.scheduling.held_picks import HeldPicks
from worker.scheduling.planner import LOCK, LOCK_S, Planner, PlanSettings

_CLOCK: Final = "simulated"
_NOW: Final = """(SELECT "until" FROM duty WHERE name = 'simulated')"""
#: Tokens live this long once they are refreshed: none comes due again within a simulation.
_LIFETIME_S: Final = 86_400.0


@dataclass
class _Message:
    id: str
    sent_at: float
    accounts: deque[tuple[str, int]]
    taken: bool = False


@dataclass
class SimulatedFleet:
    """Plans each second, takes messages in the order in which they were sent, so many accounts a second."""

    engine: Engine
    requests_per_s: int
    group_size: int = 50
    #: Numbers of messages that the broker loses.
    lost: frozenset[int] = frozenset()
    now: float = 1_000_000.0
    #: Account -> when its refresh was begun.
    begun_at: dict[str, float] = field(default_factory=dict)
    #: Seconds of work that workers did not have.
    idle_s: float = 0.0

    def __post_init__(self) -> None:
        self._queue: deque[_Message] = deque()
        self._generations: dict[str, int] = {}
        self._sent = 0
        self._planner = Planner(
            schedule=Schedule(self.engine, now=_NOW),
            pauses=Pauses(self.engine),
            held=HeldPicks(HeldAccounts(self.engine), lambda _: {}, lambda: self.now, 1.0, lambda: 0.0),
            dispatch=self._dispatch,
            queue_length=lambda queue: 0 if queue == CALLBACK else len(self._queue),
            limits=lambda _: Limits(None, 1_000),
            settings=PlanSettings(
                interval_s=1.0, queue_limit=200, group_size=self.group_size, rates_matter=False
            ),
            lock=FleetLock(self.engine, LOCK, holder="simulation", ttl_s=LOCK_S, now=_NOW),
        )
        with writing(self.engine) as connection:
            connection.execute(
                text("""INSERT INTO duty (name, "until") VALUES (:name, :now)"""),
                {"name": _CLOCK, "now": self.now},
            )

    def add(self, accounts: Sequence[tuple[str, float, float | None]]) -> None:
        """Store accounts: id, seconds until it is due, seconds until its token ends."""
        statement = text(
            """
            INSERT INTO account (id, provider, generation, published_generation, config_version, refresh_enabled,
             refresh_method, session_management, session_timeout_s, knobs, token_type, extra, jitter, due_reason, status,
             status_at, failures, refresh_token_end_fixed, created_at, next_refresh_at, plan_at, expires_at)
            VALUES (:id, 'acme', 1, 1, 1, true, 'body', 'auto', 900, '{}', 'Bearer', '{}', 0, '', 'active', 0, 0, false, 0,
             :due_at, :due_at, :ends_at)
            """
        )
        with writing(self.engine) as connection:
            connection.execute(
                statement,
                [
                    {
                        "id": name,
                        "due_at": self.now + due_s,
                        "ends_at": None if ends_s is None else self.now + ends_s,
                    }
                    for name, due_s, ends_s in accounts
                ],
            )
        self._generations |= dict.fromkeys([name for name, _, _ in accounts], 1)

    def run(self, seconds: int) -> None:
        """Let so much time pass."""
        for _ in range(seconds):
            self._planner.plan()
            self._work()
            self.now += 1
            with writing(self.engine) as connection:
                connection.execute(
                    text("""UPDATE duty SET "until" = :now WHERE name = :name"""),
                    {"name": _CLOCK, "now": self.now},
                )

    def _dispatch(self, accounts: Sequence[tuple[str, int]], *, trigger: Trigger, callback: bool) -> None:
        assert (trigger, callback) == (Trigger.PLANNED, False)
        self._sent += 1
        if self._sent not in self.lost:
            self._queue.append(_Message(f"message-{self._sent}", self.now, deque(accounts)))

    def _work(self) -> None:
        begun: list[dict[str, object]] = []
        while self._queue and len(begun) < self.requests_per_s:
            message = self._queue[0]
            if not message.taken and message.sent_at + MESSAGE_EXPIRES_S < self.now:
                self._queue.popleft()
                continue
            message.taken = True
            name, generation = message.accounts.popleft()
            if self._generations[name] == generation:
                at = self.now + len(begun) / self.requests_per_s
                self._generations[name] += 1
                self.begun_at[name] = at
                begun.append({"id": name, "at": at, "task": message.id, "due_at": at + _LIFETIME_S})
            if not message.accounts:
                self._queue.popleft()
        self.idle_s += 1 - len(begun) / self.requests_per_s
        if begun:
            self._store(begun)

    def _store(self, begun: list[dict[str, object]]) -> None:
        refreshed = """
            UPDATE account SET generation = generation + 1, plan_at = :due_at, next_refresh_at = :due_at,
             expires_at = :due_at WHERE id = :id
            """
        opened = """
            INSERT INTO attempt (id, account_id, trigger, opened_at, task_id, generation, config_version, repeats)
            VALUES (:id, :id, 'planned', :at, :task, 1, 1, 1)
            """
        with writing(self.engine) as connection:
            connection.execute(text(refreshed), begun)
            connection.execute(text(opened), begun)
