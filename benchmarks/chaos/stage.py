"""Everything that one run stands on: servers, provider, accounts, a fleet."""

from __future__ import annotations

import json
import random
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import psutil
from redis.exceptions import RedisError

from benchmarks.chaos.losses import STORED_WITHIN_S, Losses
from benchmarks.chaos.records import Records
from tests.support.fleet import Fleet, Member
from tests.support.providers.grants import Call
from tests.support.providers.scripted_provider import ScriptedProvider
from tests.support.services import PostgresServer, RedisServer, postgres_server, redis_server
from tests.support.world import World
from worker.db.migrate import upgrade
from worker.errors import DatabaseUnreachable

LIFETIME_S: Final = 20.0
LATENCY_S: Final = 0.2
CALL_TIMEOUT_S: Final = 5.0
CLAIM_S: Final = 20.0
#: Longer than a claim, so that the replay of an interrupted attempt comes within it.
GRACE_S: Final = 120.0
#: One account in so many is at a provider with a replay grace.
GRACEFUL_EVERY: Final = 5


@dataclass
class Stage:
    """The parts of a run."""

    world: World
    fleet: Fleet
    redis: RedisServer
    postgres: PostgresServer | None
    provider: ScriptedProvider
    losses: Losses
    records: Records
    accounts: list[str]
    seed: int
    #: Draws disturbances. The provider's faults are drawn elsewhere: their number depends on the fleet.
    chance: random.Random
    workers: list[str] = field(default_factory=list)
    beats: list[str] = field(default_factory=list)

    @property
    def database_server(self) -> PostgresServer:
        if self.postgres is None:
            raise TypeError("SQLite has no server")
        return self.postgres

    def member(self, name: str) -> Member:
        return self.fleet.members[name]

    def start_again(self, name: str) -> None:
        """Start a worker or beat that has ended."""
        (self.fleet.beat if name in self.beats else self.fleet.worker)(name).wait_ready()

    def kill(self, name: str, *, silent_s: float = 0.0) -> None:
        """Kill a worker; answers that it alone had are injected lost answers.

        Args:
            name: the worker.
            silent_s: for how long nothing could be stored before.
        """
        self.member(name).pause()  # so that what is noted is what is killed
        under_way = self.calls_of(name, silent_s=silent_s)
        self.member(name).kill()
        self.lose(under_way, "worker killed")

    def calls_of(self, name: str, *, silent_s: float = 0.0) -> list[Call]:
        """Return the calls that a paused process waits for, or whose answers it may not have stored yet."""
        connections = psutil.Process(self.member(name).pid).net_connections("tcp")
        ports = {connection.laddr.port for connection in connections}
        since = time.monotonic() - STORED_WITHIN_S - silent_s
        return [
            call
            for grant in list(self.provider.grants.values())
            for call in list(grant.calls)
            if call.port in ports and (call.answered_at is None or call.answered_at > since)
        ]

    def lose(self, calls: list[Call], cause: str) -> None:
        """Note as injected every answer among these that is not stored."""
        for call in calls:
            try:
                stored = self.records.holds(call)
            except (DatabaseUnreachable, RedisError, OSError):
                stored = False
            if not stored:
                self.losses.inject(call, cause)


@contextmanager
def staged(*, accounts: int, workers: int, database: str, seed: int, folder: Path) -> Iterator[Stage]:
    """Start servers, provider, accounts and fleet; end all of them."""
    with ExitStack() as stack:
        redis = stack.enter_context(redis_server(folder))
        postgres = stack.enter_context(postgres_server(folder)) if database == "postgresql" else None
        url = postgres.create_database("refreshd") if postgres else f"sqlite:///{folder / 'refreshd.db'}"
        upgrade(url)
        provider = stack.enter_context(
            ScriptedProvider(latency_s=LATENCY_S, lifetime_s=LIFETIME_S, delay_s=CALL_TIMEOUT_S * 1.5)
        )
        world = World(
            url, redis.url, folder, provider,
            call_timeout_s=f"{CALL_TIMEOUT_S:g}", claim_s=f"{CLAIM_S:g}",
            requests_per_s="1000", history_per_account="100000",
        )  # fmt: skip
        stack.callback(world.close)
        fleet = stack.enter_context(Fleet(world.environment, folder))
        losses = Losses(provider)
        names = [f"acct-{number:04}" for number in range(accounts)]
        _store(world, names)
        stage = Stage(
            world, fleet, redis, postgres, provider, losses, Records(world, losses), names,
            seed,
            random.Random(seed), [f"worker-{n}" for n in range(1, workers + 1)], ["beat-1", "beat-2"],
        )  # fmt: skip
        for name in stage.workers:
            fleet.worker(name)
        for name in stage.beats:
            fleet.beat(name)
        fleet.wait_ready()
        yield stage


def _store(world: World, names: list[str]) -> None:
    """Store the accounts so that their first refreshes come spread over half of a token's life."""
    world.stores.engine  # noqa: B018  (sets the clock)
    now = world.stores.clock.now()
    for number, name in enumerate(names):
        graceful = number % GRACEFUL_EVERY == 0
        due_at = now + LIFETIME_S / 2 * number / len(names)
        world.add(
            [name],
            grace_s=GRACE_S if graceful else None,
            provider="graceful" if graceful else "strict",
            knobs=json.dumps({"replay_grace_s": GRACE_S} if graceful else {}),
            expires_at=due_at + LIFETIME_S / 2,
            next_refresh_at=due_at,
            plan_at=due_at,
        )


def new_folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="refreshd-chaos-"))
