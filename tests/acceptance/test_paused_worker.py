"""A worker stopped for longer than its claims and then continued: it overwrites nothing newer, and sends nothing late."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from tests.acceptance.conftest import MakeWorld
from tests.acceptance.fleet import Fleet
from tests.acceptance.waiting import wait_until
from tests.acceptance.world import World

ACCOUNTS: Final = [f"acct-{number}" for number in range(120)]
SHORT_CLAIMS: Final = {"call_timeout_s": "2", "claim_s": "12", "requests_per_s": "1000"}


def test_what_arrived_late_overwrites_nothing(
    make_world: MakeWorld, database_url: str, redis_url: str, tmp_path: Path
) -> None:
    """Another worker replays within the provider's grace and goes on; then the first one wakes up."""
    world = make_world(database_url, redis_url, **SHORT_CLAIMS)
    world.add(["acct"], grace_s=3600)
    world.provider.answering.clear()
    with Fleet(world.environment, tmp_path) as fleet:
        fleet.beat()
        paused = fleet.worker("paused").wait_ready()
        wait_until(lambda: world.provider.under_way == ["acct"], "the call under way")
        paused.pause()
        world.provider.answering.set()
        fleet.worker("awake").wait_ready()
        wait_until(lambda: world.all_refreshed(["acct"]), "the replay stored")
        world.push([("acct", 2)])
        wait_until(lambda: world.all_refreshed(["acct"], beyond=2), "the next generation stored")

        paused.resume()
        paused.terminate()
        paused.wait_ended(30)

    assert world.account("acct").generation == 3
    assert world.agrees_with_the_provider("acct")
    assert world.provider.overlaps == 0
    assert all(attempt.closed_at is not None for attempt in world.attempts("acct"))


def test_nothing_is_sent_after_its_time(
    make_world: MakeWorld, postgres_url: str, redis_url: str, tmp_path: Path
) -> None:
    """Stopped in the middle of many accounts: others refresh those that were not sent, and they are not sent again.

    On PostgreSQL: where the stop comes within a transaction, its server frees the rows. SQLite's only writer,
    stopped while it writes, keeps everybody waiting until it goes on or ends.
    """
    world = make_world(postgres_url, redis_url, group_size="10", **SHORT_CLAIMS)
    world.add(ACCOUNTS)
    with Fleet(world.environment, tmp_path) as fleet:
        fleet.beat()
        paused = fleet.worker("paused").wait_ready()
        wait_until(lambda: bool(world.provider.under_way), "calls under way")
        paused.pause()
        wait_until(lambda: not world.provider.under_way, "everything that was sent answered")
        called = {grant.account for grant in world.provider.grants.values() if grant.calls}
        fleet.worker("awake").wait_ready()
        others = [account for account in ACCOUNTS if account not in called]
        wait_until(lambda: pushed_further(world, others), "every other account refreshed")

        paused.resume()
        paused.terminate()
        paused.wait_ended(30)

    assert world.provider.overlaps == 0
    for account in others:
        grant = world.provider.grants[account]
        story = [(call.serial, call.port, call.began_at) for call in grant.calls]
        told = [(one.worker, one.outcome, one.reason, one.opened_at) for one in world.attempts(account)]
        assert grant.reuses == 0, (story, told)
        assert world.agrees_with_the_provider(account)


def pushed_further(world: World, accounts: list[str]) -> bool:
    """Push what is not there yet: the messages that the stopped worker has are sent again much later."""
    behind = [(account, seen) for account, seen in world.generations(accounts).items() if seen == 1]
    if behind:
        world.push(behind, reason="planned", queue="refresh")
    return not behind


def test_answers_that_arrived_during_a_short_stop_are_stored(
    make_world: MakeWorld, sqlite_url: str, redis_url: str, tmp_path: Path
) -> None:
    """Longer than the call's time, shorter than the claim: nobody else called, so the answer still counts."""
    world = make_world(sqlite_url, redis_url, call_timeout_s="1", claim_s="60", requests_per_s="1000")
    world.add(ACCOUNTS)
    world.provider.answering.clear()
    with Fleet(world.environment, tmp_path) as fleet:
        fleet.beat()
        paused = fleet.worker("paused").wait_ready()
        wait_until(lambda: bool(world.provider.under_way), "calls under way")
        paused.pause()
        called = world.provider.under_way
        world.provider.answering.set()
        wait_until(lambda: not world.provider.under_way, "every answer given")
        wait_until(lambda: world.stores.clock.now() > max(
            attempt.opened_at for account in called for attempt in world.attempts(account)
        ) + 2, "the calls' time over")  # fmt: skip
        paused.resume()
        wait_until(lambda: world.all_refreshed(called), "every answer stored")

    assert [world.provider.grants[account].refreshes for account in called] == [1] * len(called)
    assert world.provider.reuses == 0
