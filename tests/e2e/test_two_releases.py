"""The release before and this one, side by side under load on one database and one Redis, in both directions."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.e2e.conftest import MakeWorld
from tests.support import release_before
from tests.support.absence import Absence
from tests.support.fleet import Fleet
from tests.support.forked import ran
from tests.support.providers.grants import access_token, refresh_token
from tests.support.providers.scripted_provider import ScriptedProvider
from tests.support.services import PostgresServer
from tests.support.waiting import wait_until
from tests.support.world import World
from worker.db.migrate import upgrade

ACCOUNTS: Final = [f"acct-{number}" for number in range(200)]
#: Accounts that this release alone can make: with labels.
LABELLED: Final = [f"labelled-{number}" for number in range(40)]
#: Half of it is the margin, so that each account is refreshed every 10 s.
LIFETIME_S: Final = 20.0
#: All of them end at once: the import, and a schema that changes meanwhile, take seconds of it.
FIRST_LIFETIME_S: Final = 40.0
#: Time in which both run together, in each direction; longer by hand.
BESIDE_S: Final = float(os.environ.get("REFRESHD_TEST_BESIDE_S", "6"))


@pytest.fixture
def before(tmp_path: Path) -> Path:
    """The release before, unpacked."""
    if reason := release_before.missing():
        pytest.skip(reason)
    return release_before.unpack(tmp_path)


@pytest.fixture
def database(postgres_service: PostgresServer) -> Iterator[str]:
    """A database with nothing in it."""
    yield postgres_service.create_database("two_releases")
    postgres_service.drop_database("two_releases")


class TwoReleases:
    """Fleets of both, and commands of both."""

    def __init__(self, environment: dict[str, str], folder: Path, before: Path) -> None:
        self._old_environment = environment | {"PYTHONPATH": release_before.its_python_path(before)}
        self.folder = folder
        self.old = Fleet(self._old_environment, folder, before)
        self.new = Fleet(environment, folder)

    def command(self, fleet: Fleet, *arguments: str) -> None:
        """Run a command of one of them."""
        done = ran(["worker.cli", *arguments], cwd=fleet.root, env=fleet.environment)
        assert done.returncode == 0, done.stdout + done.stderr

    def bring(self, fleet: Fleet, provider: ScriptedProvider, ids: list[str], **fields: object) -> None:
        """Import accounts with the command of one of them, with tokens that are as good as new."""
        provider.grant(ids)
        now = time.time()
        rows = [
            {
                "id": account,
                "provider": "scripted",
                "client_id": "client",
                "client_secret": "secret",
                "token_url": provider.token_url,
                "access_token": access_token(account, 0),
                "refresh_token": refresh_token(account, 0),
                "issued_at": now,
                "expires_in": FIRST_LIFETIME_S,
                **fields,
            }
            for account in ids
        ]
        file = self.folder / f"{ids[0]}.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        self.command(fleet, "accounts", "import", str(file))

    def start(self, fleet: Fleet, name: str) -> None:
        fleet.worker(f"worker-{name}")
        fleet.beat(f"beat-{name}")
        fleet.wait_ready()

    def end(self, fleet: Fleet) -> None:
        """End its processes as a supervisor does, and forget them."""
        for member in fleet.members.values():
            member.terminate()
        for member in fleet.members.values():
            assert member.wait_ended(60) == 0, member.said[-2000:]
        fleet.members.clear()


@pytest.mark.timeout(300 + 2 * BESIDE_S)
def test_old_and_new_processes_share_one_database_and_lose_nothing(
    make_world: MakeWorld,
    provider: ScriptedProvider,
    database: str,
    redis_url: str,
    tmp_path: Path,
    before: Path,
) -> None:
    provider.lifetime_s = LIFETIME_S
    world = make_world(database, redis_url, requests_per_s="1000", group_size="5")
    both = TwoReleases(world.environment, tmp_path, before)
    with both.old, both.new:
        both.command(both.old, "db", "upgrade")
        both.start(both.old, "old")
        both.bring(both.old, provider, ACCOUNTS)
        upgrade(database)
        with Absence(redis_url, ACCOUNTS + LABELLED) as reader:
            wait_until(lambda: world.all_refreshed(ACCOUNTS), "the release before works on the new schema")
            both.start(both.new, "new")
            both.bring(both.new, provider, LABELLED, labels={"team": "payments"})
            beside(world)
            both.end(both.old)
            refreshed_once_more(world, "this release alone")
            both.start(both.old, "old-again")
            beside(world)
            both.end(both.new)
            refreshed_once_more(world, "the release before again")
            both.end(both.old)

        reader.check()
        assert reader.have(ACCOUNTS + LABELLED)
    assert (provider.overlaps, provider.reuses) == (0, 0)
    wait_until(lambda: all(map(world.agrees_with_the_provider, ACCOUNTS + LABELLED)), "every answer stored")
    began = min(reader.since.values(), default=0.0)
    assert not {account: round(since - began, 1) for account, since in reader.since.items()}


def beside(world: World) -> None:
    """Let both run, with forced refreshes and reports beside the planned ones."""
    everybody = ACCOUNTS + LABELLED
    until = time.monotonic() + BESIDE_S
    number = 0
    while time.monotonic() < until:
        some = everybody[number % 7 :: 7]
        seen = world.generations(some)
        world.push([(account, seen[account]) for account in some[:10]])
        for account in some[10:15]:
            world.stores.redis.xadd(
                world.stores.keys.rejected,
                {"account": account, "generation": str(seen[account]), "http_status": "401"},
            )
        number += 1
        passed_all(world, {account: seen[account] for account in some[:15]}, "forced and reported accounts")
    assert number


def refreshed_once_more(world: World, who: str) -> None:
    """Wait until each account has been refreshed."""
    passed_all(world, world.generations(), who)


def passed_all(world: World, seen: dict[str, int], what: str) -> None:
    """Wait until each of these accounts has a newer generation."""
    wait_until(lambda: all(now > seen[account] for account, now in world.generations(seen).items()), what)
