"""With real processes: a refusal is confirmed before the owner is asked, and one behind a 5xx is reported as probably dead."""

from __future__ import annotations

import json

from models.tables.account import Account, Status
from tests.support.fleet import ROOT, Fleet
from tests.support.forked import ran
from tests.support.providers.grants import Fault, Grant
from tests.support.waiting import wait_until
from tests.support.world import World
from worker.policy.reasons.login import PROBABLY_DEAD

#: A grace by which the second try comes after three seconds.
GRACE = json.dumps({"replay_grace_s": 6})


def explained(world: World, account: str) -> str:
    """Return what `explain` prints of an account."""
    return ran(["worker.cli", "explain", account], cwd=ROOT, env=world.environment).stdout


def test_a_hiccup_costs_no_login_and_a_dead_grant_is_asked_about_twice(
    sqlite_world: World, sqlite_fleet: Fleet
) -> None:
    calls: dict[str, int] = {"hiccup": 0, "dead": 0}

    def script(grant: Grant) -> Fault | None:
        calls[grant.account] += 1
        return Fault.REFUSED if grant.account == "dead" or calls["hiccup"] == 1 else None

    sqlite_world.provider.script = script
    sqlite_fleet.worker()
    sqlite_fleet.beat()
    sqlite_fleet.wait_ready()
    sqlite_world.add(list(calls), knobs=GRACE)

    wait_until(lambda: sqlite_world.account("hiccup").generation == 2, "the second try brought a token")
    wait_until(lambda: _status(sqlite_world, "dead") is Status.REAUTHORIZE, "the second refusal counts")

    assert sqlite_world.account("hiccup").status == Status.ACTIVE
    assert calls == {"hiccup": 2, "dead": 2}
    first, second = sorted(sqlite_world.attempts("dead"), key=lambda attempt: attempt.opened_at)
    assert (first.reason, second.reason) == ("invalid_grant", "invalid_grant")
    assert first.next_refresh_at is not None
    assert second.next_refresh_at is None


def test_a_refusal_behind_a_failure_is_reported_as_probably_dead_and_tried_on(
    sqlite_world: World, sqlite_fleet: Fleet
) -> None:
    sqlite_world.provider.script = lambda grant: (
        Fault.REFUSED_BEHIND_A_FAILURE if grant.account == "behind" else None
    )
    sqlite_fleet.worker()
    sqlite_fleet.beat()
    sqlite_fleet.wait_ready()
    sqlite_world.add(["behind"], expires_at=1.0)

    wait_until(lambda: sqlite_world.account("behind").reason == PROBABLY_DEAD, "five refusals in a row", 120)

    row: Account = sqlite_world.account("behind")
    assert (row.status, row.next_refresh_at is not None) == (Status.DEGRADED, True)
    assert "probably dead" in explained(sqlite_world, "behind")

    sqlite_world.provider.script = lambda _: None
    sqlite_world.push([("behind", 1)])
    wait_until(lambda: _status(sqlite_world, "behind") is Status.ACTIVE, "a token ends the report")


def _status(world: World, account: str) -> Status:
    return Status(world.account(account).status)
