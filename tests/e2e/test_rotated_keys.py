"""Keys rotate beside a worker that refreshes: killed in the middle, run again, and the old key is needed no more."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from sqlalchemy import Engine, text

from benchmarks.rotate_keys import LENGTHS, fill
from models.tables.account import Account
from tests.e2e.conftest import MakeWorld
from tests.support.command import refreshd
from tests.support.fleet import Fleet
from tests.support.providers.grants import access_token, refresh_token
from tests.support.providers.scripted_provider import ScriptedProvider
from tests.support.waiting import wait_until
from tests.support.world import World
from worker.crypto.cipher import generate_key, key_of
from worker.db.engine import is_sqlite, reading, writing
from worker.db.repair.rekey import BATCH, sealed_with

OLD, NEW, NEXT = generate_key("old"), generate_key("new"), generate_key("next")
#: A batch and a little, of accounts that rest.
RESTING: Final = [f"acct-{number:08}" for number in range(BATCH + 150)]
#: In the second batch: the rotation comes to this one and no further.
HELD: Final = RESTING[BATCH + 50]
#: In the first batch: refreshed all the time.
RESTLESS: Final = [f"{account}-live" for account in RESTING[:BATCH:200]]
#: In the second batch, behind the one that is held: refreshed when the rotation has read them and not yet written.
LATE: Final = [f"{account}-live" for account in RESTING[-50::10]]

#: Between two rounds of refreshes: other tests want the machine too.
PAUSE_S: Final = 0.2


@pytest.fixture
def provider() -> Iterator[ScriptedProvider]:
    with ScriptedProvider(latency_s=0) as made:
        yield made


def generations(world: World) -> dict[str, int]:
    """Return the generation of every account that is refreshed."""
    with reading(world.stores.engine) as connection:
        rows = connection.execute(text("SELECT id, generation FROM account WHERE id LIKE '%-live'"))
        return {str(account): int(generation) for account, generation in rows}


def refresh(world: World, accounts: list[str]) -> None:
    """Have the worker refresh accounts, and wait until it has stored them and let go of them."""
    seen = generations(world)
    world.push([(account, seen[account]) for account in accounts])
    leases = [world.stores.keys.lock(account) for account in accounts]

    def refreshed() -> bool:
        now = generations(world)
        moved = all(now[account] > seen[account] for account in accounts)
        return moved and not world.stores.redis.exists(*leases)

    wait_until(refreshed, "a round of refreshes")


@contextmanager
def refreshed_all_the_time(world: World, accounts: list[str]) -> Iterator[None]:
    """Refresh accounts round after round while the block runs."""
    over = threading.Event()

    def rounds() -> None:
        while not over.wait(PAUSE_S):
            refresh(world, accounts)

    with ThreadPoolExecutor(1) as thread:
        running = thread.submit(rounds)
        try:
            yield
        finally:
            over.set()
        running.result()


@contextmanager
def held(engine: Engine) -> Iterator[None]:
    """Let nobody store a change of one account: PostgreSQL waits for its row, SQLite counts to no end."""
    if is_sqlite(engine):
        forever = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"
        trigger = f"BEFORE UPDATE ON account WHEN NEW.id = '{HELD}' BEGIN {forever}; END"
        with writing(engine) as connection:
            connection.execute(text(f"CREATE TRIGGER held {trigger}"))
        yield
        with writing(engine) as connection:
            connection.execute(text("DROP TRIGGER held"))
        return
    with writing(engine) as connection:
        connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
        connection.execute(text("SELECT id FROM account WHERE id = :held FOR UPDATE"), {"held": HELD})
        yield


def key_of_stored(world: World, account: str) -> str | None:
    with reading(world.stores.engine) as connection:
        asked = text("SELECT refresh_token_sealed FROM account WHERE id = :id")
        return key_of(str(connection.execute(asked, {"id": account}).scalar_one()))


def waits_for_the_row(world: World) -> bool:
    asked = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    with reading(world.stores.engine) as connection:
        return bool(connection.execute(text(asked)).scalar_one())


def test_a_rotation_that_is_killed_beside_a_live_worker_is_run_again_and_the_old_key_is_needed_no_more(
    make_world: MakeWorld, provider: ScriptedProvider, database_url: str, redis_url: str, tmp_path: Path
) -> None:
    before = make_world(database_url, redis_url, keys=OLD)
    fill(before.stores.engine, before.stores.cipher, len(RESTING))
    before.add([*RESTLESS, *LATE])
    world = make_world(database_url, redis_url, keys=f"{NEW},{OLD}", requests_per_s="100000")
    engine = world.stores.engine
    variables: dict[str, Any] = dict(world.environment)

    with Fleet(variables, tmp_path) as fleet:
        worker = fleet.worker().wait_ready()
        too_early = {**variables, "REFRESHD_KEYS": f"{NEXT},{NEW},{OLD}"}
        with refreshd(tmp_path, "keys", "rotate", **too_early) as refused:
            assert refused.wait() == 2, refused.output
        assert "has new, old. Nothing was changed" in " ".join(refused.output.split()), refused.output
        with refreshed_all_the_time(world, RESTLESS):
            with held(engine), refreshd(tmp_path, "keys", "rotate", **variables) as killed:
                wait_until(
                    lambda: key_of_stored(world, RESTING[0]) == "new" or killed.process.poll() is not None,
                    "the first batch is sealed anew",
                )
                killed.process.kill()
                killed.wait()
            assert key_of_stored(world, HELD) == "old", killed.output

            with refreshd(tmp_path, "keys", "rotate", "--json", **variables) as again:
                if not is_sqlite(engine):
                    with held(engine):
                        wait_until(lambda: waits_for_the_row(world), "the rotation is about to write")
                        refresh(world, LATE)
                assert again.wait() == 0, again.output
        assert worker.alive

    assert json.loads(again.output)["accounts"] == len(RESTING) + len(RESTLESS) + len(LATE)
    assert sealed_with(engine).keys() == {"new"}
    assert (provider.overlaps, provider.reuses) == (0, 0)
    after = make_world(database_url, redis_url, keys=NEW)
    rows = after.accounts()
    assert rows.keys() == {*RESTING, *RESTLESS, *LATE}
    for account in RESTING:
        assert opened(after, rows[account]) == {field: "x" * length for field, length in LENGTHS.items()}
    for account in (*RESTLESS, *LATE):
        serial = provider.grants[account].serial
        assert opened(after, rows[account]) == {
            "client_secret": "secret",
            "access_token": access_token(account, serial),
            "refresh_token": refresh_token(account, serial),
        }


def opened(world: World, account: Account) -> dict[str, str]:
    """Open everything that an account keeps sealed."""
    found = {field: world.stores.sealer.open(account, field) for field in LENGTHS}
    return {field: secret.reveal() for field, secret in found.items() if secret is not None}
