"""A worker that is killed while it tells webhooks: nothing is lost, and what comes twice has the same id."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from sqlalchemy import text

from models.tables.account import Status
from tests.integration.notifications.conftest import SECRET
from tests.integration.notifications.receiving import receiving
from tests.support.door import Door
from tests.support.fleet import Fleet
from tests.support.providers.scripted_provider import ScriptedProvider
from tests.support.waiting import wait_until
from tests.support.world import World
from worker.db.engine import reading, writing

ACCOUNTS: Final = ("acct-1", "acct-2", "acct-3")


def delivered(world: World) -> dict[str, bool]:
    """Return each message that was made, and whether its delivery is noted."""
    with reading(world.stores.engine) as connection:
        rows = connection.execute(text("SELECT id, delivered_at IS NOT NULL FROM webhook")).all()
    return {str(row[0]): bool(row[1]) for row in rows}


def tell(world: World) -> None:
    """Ask for a run as beat does; the killed worker's hold on the duty is over, and so are pauses after failures."""
    with writing(world.stores.engine) as connection:
        connection.execute(text("UPDATE duty SET until = 0 WHERE name = 'webhooks'"))
        connection.execute(text("UPDATE webhook SET next_at = 0 WHERE next_at IS NOT NULL"))
    world.send("refreshd.webhooks", {}, "control")


def test_killed_before_a_delivery_and_before_its_mark_it_loses_nothing_and_repeats_with_the_same_id(
    sqlite_url: str, redis_url: str, tmp_path: Path
) -> None:
    with ScriptedProvider() as provider, receiving() as receiver, Door(receiver.port) as door:
        world = World(
            sqlite_url, redis_url, tmp_path, provider,
            webhook_url=f"http://127.0.0.1:{door.port}/", webhook_secret=SECRET, webhook_types="reauthorize",
        )  # fmt: skip
        with Fleet(world.environment, tmp_path) as fleet:
            world.add(ACCOUNTS)
            provider.grants.clear()  # whoever asks is refused: invalid_grant
            first = fleet.worker("first").wait_ready()
            world.push([(account, 1) for account in ACCOUNTS])
            wait_until(
                lambda: {row.status for row in world.accounts().values()} == {Status.REAUTHORIZE},
                "each grant ended, which is committed",
            )
            tell(world)
            wait_until(lambda: len(delivered(world)) == len(ACCOUNTS), "messages made, connections tried")
            first.kill()
            assert receiver.came == []

            door.open()
            second = fleet.worker("second").wait_ready()
            tell(world)
            wait_until(lambda: len(receiver.came) == len(ACCOUNTS), "each taken, none answered")
            second.kill()
            assert not any(delivered(world).values())

            receiver.answering.set()
            fleet.worker("third").wait_ready()
            tell(world)
            wait_until(lambda: all(delivered(world).values()), "each delivery noted")
        world.close()

    assert len(receiver.came) == 2 * len(ACCOUNTS)
    assert set(receiver.came[: len(ACCOUNTS)]) == set(receiver.came[len(ACCOUNTS) :])
    told = [json.loads(body)["data"]["account"] for _, body in receiver.came[: len(ACCOUNTS)]]
    assert sorted(told) == list(ACCOUNTS)
