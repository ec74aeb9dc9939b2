"""`refreshd accounts add --verify`: a worker tries a new account once, and the command says the verdict."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.command import refreshd
from tests.support.fleet import Fleet
from tests.support.providers.grants import refresh_token
from tests.support.providers.scripted_provider import ScriptedProvider
from tests.support.waiting import wait_until
from tests.support.world import World


@pytest.mark.parametrize("token", ["own", "spent"])
def test_the_verdict_ends_the_command(
    token: str, sqlite_world: World, sqlite_fleet: Fleet, provider: ScriptedProvider, tmp_path: Path
) -> None:
    provider.grant(["acct"])
    sqlite_fleet.worker(concurrency=1)
    sqlite_fleet.wait_ready()
    grant = refresh_token("acct", 0) if token == "own" else "no-such-grant"
    words = ("acct", "client_id=client", f"token_url={provider.token_url}", f"refresh_token={grant}")
    environment: dict[str, Any] = sqlite_world.environment
    with refreshd(tmp_path, "accounts", "add", *words, "--verify", **environment) as command:
        assert command.wait() == (0 if token == "own" else 1), command.output
    if token == "own":
        assert "acct: refreshed, generation 1: the account works" in command.output
        assert sqlite_world.is_published("acct")
    else:
        assert "acct: not refreshed (reauthorize). " in command.output
        assert "`refreshd explain acct` says what to do" in command.output


def test_json_has_the_verdict_beside_the_account(
    sqlite_world: World, sqlite_fleet: Fleet, provider: ScriptedProvider, tmp_path: Path
) -> None:
    provider.grant(["acct"])
    sqlite_fleet.worker(concurrency=1)
    sqlite_fleet.wait_ready()
    words = (
        "acct",
        "client_id=client",
        f"token_url={provider.token_url}",
        f"refresh_token={refresh_token('acct', 0)}",
    )
    environment: dict[str, Any] = sqlite_world.environment
    with refreshd(tmp_path, "accounts", "add", *words, "--verify", "--json", **environment) as command:
        assert command.wait() == 0, command.output
    found = json.loads(command.output.splitlines()[-1])
    assert (found["outcome"], found["verified"]["outcome"]) == ("added", "refreshed")


def test_where_no_worker_answers_it_says_so_and_goes_on_with_the_one_that_comes(
    sqlite_world: World, sqlite_fleet: Fleet, provider: ScriptedProvider, tmp_path: Path
) -> None:
    provider.grant(["acct"])
    words = (
        f"token_url={provider.token_url}",
        f"refresh_token={refresh_token('acct', 0)}",
        "client_id=client",
    )
    environment: dict[str, Any] = sqlite_world.environment
    with refreshd(tmp_path, "accounts", "add", "acct", *words, "--verify", **environment) as command:
        command.wait_for("no worker answers that takes from `urgent`")
        sqlite_fleet.worker(concurrency=1)
        assert command.wait() == 0, command.output
    assert "acct: refreshed, generation 1: the account works" in command.output


def test_a_refresh_that_is_under_way_already_is_waited_for(
    sqlite_world: World, sqlite_fleet: Fleet, provider: ScriptedProvider, tmp_path: Path
) -> None:
    provider.grant(["acct"])
    sqlite_fleet.worker(concurrency=1).wait_ready()
    lease = sqlite_world.stores.keys.lock("acct")
    sqlite_world.stores.redis.set(lease, "another worker")
    words = (
        f"token_url={provider.token_url}",
        f"refresh_token={refresh_token('acct', 0)}",
        "client_id=client",
    )
    environment: dict[str, Any] = sqlite_world.environment
    with refreshd(tmp_path, "accounts", "add", "acct", *words, "--verify", **environment) as command:
        wait_until(lambda: bool(sqlite_world.attempts("acct")), "the lease found taken")
        sqlite_world.stores.redis.delete(lease)
        assert command.wait() == 0, command.output
    assert "acct: refreshed, generation 1: the account works" in command.output
