"""A dump of an hour ago is restored: what it costs, and what `doctor` and `db restored` say of it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest

from models.tables.account import Status
from tests.e2e.conftest import MakeWorld
from tests.support.fleet import ROOT, Fleet
from tests.support.forked import ran
from tests.support.server_process import run_as
from tests.support.services import PostgresServer
from tests.support.waiting import wait_until
from tests.support.world import World
from worker.db.migrate import upgrade

#: Refreshed again since the dump, in the last minutes: Redis keeps the answers.
LATELY: Final = [f"lately-{number}" for number in range(10)]
#: Refreshed again since the dump, and longer ago than Redis keeps an answer.
EARLIER: Final = [f"earlier-{number}" for number in range(10)]
#: Not refreshed since the dump.
UNTOUCHED: Final = [f"untouched-{number}" for number in range(10)]
#: Refreshed since the dump, at a provider that takes the refresh token before as well.
NOT_ROTATING: Final = [f"not-rotating-{number}" for number in range(10)]
REFRESHED: Final = [*LATELY, *EARLIER, *NOT_ROTATING]
ALL: Final = [*REFRESHED, *UNTOUCHED]


def refreshd(world: World, *arguments: str) -> tuple[int, str]:
    """Run a command; return its exit code and what it prints."""
    done = ran(["worker.cli", *arguments], cwd=ROOT, env=Fleet(world.environment, Path()).environment)
    return done.returncode, done.stdout


def lost_commits(world: World) -> list[str]:
    """Return what `doctor` says of commits that the database lost."""
    _, output = refreshd(world, "doctor", "--json")
    found: list[dict[str, Any]] = [json.loads(line) for line in output.splitlines()]
    return [str(one["message"]) for one in found if one["check"] == "lost commits"]


def test_a_dump_costs_the_rotating_grants_that_were_refreshed_since_and_whose_answer_is_gone(
    make_world: MakeWorld, own_postgres: PostgresServer, redis_url: str, tmp_path: Path
) -> None:
    url = own_postgres.create_database("refreshd")
    upgrade(url)
    world = make_world(url, redis_url, call_timeout_s="5", claim_s="15", requests_per_s="1000")
    world.add([*LATELY, *EARLIER, *UNTOUCHED])
    world.add(NOT_ROTATING, grace_s=3600)
    with Fleet(world.environment, tmp_path) as fleet:
        fleet.worker().wait_ready()
        world.plan_until(lambda: world.all_refreshed(ALL), "every account refreshed")
        dump = dumped(own_postgres)
        world.push(list(world.generations(REFRESHED).items()))
        wait_until(lambda: world.all_refreshed(REFRESHED, beyond=2), "refreshed after the dump")
        wait_until(lambda: all(map(world.is_published, REFRESHED)), "every token published")
    world.stores.redis.delete(*map(world.stores.keys.answer, EARLIER))
    restored(own_postgres, dump, world)
    assert set(world.generations().values()) == {2}

    (words,) = lost_commits(world)
    assert words.startswith(
        "30 of the 40 accounts that are due first are older in the database than in Redis"
    )
    assert "answers of 20 of them" in words
    code, output = refreshd(world, "db", "restored", "--json")
    assert (code, json.loads(output)) == (0, {"raised": 10, "kept": 20})

    with Fleet(world.environment, tmp_path) as fleet:
        fleet.worker("after").wait_ready()
        fleet.beat()
        wait_until(lambda: world.all_refreshed(LATELY, beyond=3), "answers stored again")
        rest = [*EARLIER, *UNTOUCHED, *NOT_ROTATING]
        world.push(list(world.generations(rest).items()))
        saved = [*UNTOUCHED, *NOT_ROTATING]
        wait_until(
            lambda: (
                all(world.agrees_with_the_provider(account) for account in [*LATELY, *saved])
                and all(world.account(account).status == Status.REAUTHORIZE for account in EARLIER)
            ),
            "each account's end",
        )
    revoked = {account for account, grant in world.provider.grants.items() if grant.revoked}
    assert revoked == set(EARLIER), "what the page of backups says that a dump costs"


def dumped(server: PostgresServer) -> bytes:
    """Dump the database, as docs/deployment.md does."""
    command = ["pg_dump", "--format=custom", server.url_of("refreshd")]
    return _run(server, command).stdout


def restored(server: PostgresServer, dump: bytes, world: World) -> None:
    """Restore a dump into an empty database of the same name."""
    world.stores.engine.dispose()
    server.drop_database("refreshd")
    server.create_database("refreshd")
    _run(server, ["pg_restore", f"--dbname={server.url_of('refreshd')}"], dump)


def _run(
    server: PostgresServer, command: list[str], feed: bytes | None = None
) -> subprocess.CompletedProcess[bytes]:
    program = server.binaries / command[0]
    if not program.is_file():
        pytest.skip(f"{program} is not there (Debian: postgresql-client)")
    return subprocess.run(
        [str(program), *command[1:]],
        input=feed,
        cwd=server.folder,
        capture_output=True,
        check=True,
        **run_as(server.user),
    )
