"""A worker killed with calls under way: its accounts are picked up again when its claims end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from models.tables.account import Status
from models.tables.attempt import INTERRUPTED, Outcome
from tests.e2e.conftest import MakeWorld
from tests.support.fleet import ROOT, Fleet
from tests.support.forked import ran
from tests.support.waiting import wait_until

ACCOUNTS: Final = [f"acct-{number}" for number in range(20)]


def test_its_accounts_are_refreshed_after_its_claims_and_the_history_shows_the_interrupted_attempt(
    make_world: MakeWorld, database_url: str, redis_url: str, tmp_path: Path
) -> None:
    world = make_world(database_url, redis_url, call_timeout_s="2", claim_s="12", requests_per_s="1000")
    world.add(ACCOUNTS, grace_s=3600)
    world.provider.answering.clear()
    with Fleet(world.environment, tmp_path) as fleet:
        fleet.beat()
        fleet.worker("first").wait_ready()
        wait_until(lambda: set(world.provider.under_way) == set(ACCOUNTS), "every call under way")
        fleet.members["first"].kill()
        world.provider.answering.set()
        fleet.worker("second").wait_ready()

        wait_until(lambda: world.all_refreshed(ACCOUNTS), "every account refreshed")

    assert world.provider.overlaps == 0
    for account, row in world.accounts().items():
        interrupted, replayed = world.attempts(account)[:2]
        assert (interrupted.outcome, interrupted.reason) == (Outcome.RETRY, INTERRUPTED)
        assert interrupted.claim_until is not None
        assert replayed.opened_at >= interrupted.claim_until
        assert replayed.outcome == Outcome.REFRESHED
        assert row.status == Status.ACTIVE


def test_a_forced_refresh_that_was_interrupted_is_replayed_although_the_account_is_not_due(
    make_world: MakeWorld, sqlite_url: str, redis_url: str, tmp_path: Path
) -> None:
    """Its refresh token may be spent: that can't wait until the token is due."""
    world = make_world(sqlite_url, redis_url, call_timeout_s="2", claim_s="12")
    due_at = world.stores.clock.now() + 3000
    world.add(["acct"], grace_s=3600, next_refresh_at=due_at, plan_at=due_at)
    world.provider.answering.clear()
    with Fleet(world.environment, tmp_path) as fleet:
        fleet.worker("first").wait_ready()
        world.push([("acct", 1)])
        wait_until(lambda: world.provider.under_way == ["acct"], "the call under way")
        fleet.members["first"].kill()
        world.provider.answering.set()
        fleet.beat()
        fleet.worker("second").wait_ready()

        wait_until(lambda: world.all_refreshed(["acct"]), "the account refreshed")
    assert world.attempts("acct")[0].reason == INTERRUPTED


def test_explain_names_the_killed_worker_and_when_its_hold_ends(
    make_world: MakeWorld, sqlite_url: str, redis_url: str, tmp_path: Path
) -> None:
    world = make_world(sqlite_url, redis_url, claim_s="3600")
    world.add(["acct"])
    world.provider.answering.clear()
    with Fleet(world.environment, tmp_path) as fleet:
        first = fleet.worker("first").wait_ready()
        world.push([("acct", 1)])
        wait_until(lambda: world.provider.under_way == ["acct"], "the call under way")
        first.kill()
    world.provider.answering.set()
    explained = ran(["worker.cli", "explain", "acct", "--json"], cwd=ROOT, env=fleet.environment)
    assert explained.returncode == 1, explained.stderr

    found = {one["cause"]: one["words"] for one in json.loads(explained.stdout)["findings"]}
    assert "under way on first@acceptance, which does not answer" in found["lease_of_a_dead_worker"]
    assert "the next plan replays the refresh then" in found["lease_of_a_dead_worker"]
    assert "interrupted" not in found
