"""Callbacks in real worker processes, seen through the commands that people type."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from models.tables.attempt import Outcome, Trigger
from tests.integration.callbacks.conftest import MODULES, WILD
from tests.support.fleet import Fleet, Member
from tests.support.forked import ran
from tests.support.providers.scripted_provider import ScriptedProvider
from tests.support.server_process import free_port
from tests.support.waiting import wait_until
from tests.support.world import World
from worker.broker.queues import CALLBACK_WORKER
from worker.callbacks.heartbeats import CallbackHeartbeats
from worker.callbacks.sandbox.fork_server import BOOT
from worker.errors import SettingsError

NODE = "callback@acceptance"


@pytest.fixture
def world(sqlite_url: str, redis_url: str, tmp_path: Path) -> Iterator[World]:
    with ScriptedProvider() as provider:
        made = World(sqlite_url, redis_url, tmp_path, provider, callback_modules=f"{WILD},not_there")
        made.environment["PYTHONPATH"] = str(MODULES)
        yield made
        made.close()


@pytest.fixture
def fleet(world: World, tmp_path: Path) -> Iterator[Fleet]:
    with Fleet(world.environment, tmp_path) as made:
        yield made


def callback_worker(fleet: Fleet, world: World, *, concurrency: int = 1) -> Member:
    """Start a callback worker, and wait until it says what it knows."""
    arguments = [
        *("worker", "--pool", "threads", "--concurrency", str(concurrency), "--queues", "callback"),
        *("--hostname", NODE, "--without-gossip", "--without-mingle", "--loglevel", "INFO"),
    ]
    member = fleet._start(Member("callback", arguments, ready=" ready.", fleet=fleet)).wait_ready()
    presence = CallbackHeartbeats(world.stores.redis, "refreshd:")
    wait_until(lambda: NODE in presence.offers() or not member.alive, "the worker's callbacks")
    return member


def run(fleet: Fleet, *arguments: str) -> tuple[int, str, str]:
    """Run a command; returns its exit code, its output, and what it said beside it."""
    done = ran(["worker.cli", *arguments], cwd=fleet.folder, env=fleet.environment)
    return done.returncode, done.stdout, done.stderr


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_a_person_finds_tries_and_applies_a_callback(world: World, fleet: Fleet) -> None:
    world.add(["acct"], callback="rotates")
    world.add(["other"], refresh_method="callback", callback="rotate", next_refresh_at=None, plan_at=None)

    code, _, said = run(fleet, "callbacks", "test", "rotates", "--account", "acct")
    assert code == 1
    assert "no callback worker runs" in said

    callback_worker(fleet, world)
    code, out, said = run(fleet, "callbacks", "list", "--json")
    found = {line["callback"]: line for line in lines(out)}
    assert code == 1
    assert found["rotates"]["workers"] == [NODE]
    assert found["rotates"]["where"].startswith(f"{MODULES / WILD}.py:")
    assert (found["rotate"]["kind"], found["rotate"]["accounts"], found["rotate"]["example"]) == (
        None,
        1,
        "other",
    )
    assert "account other: no callback 'rotate'; did you mean 'rotates'?" in said
    assert f"{NODE}: not_there: there is no module" in said

    code, out, said = run(fleet, "callbacks", "test", "rotates", "--account", "acct")
    assert code == 0, said
    assert f"callback     rotates, known to {NODE}; ran on {NODE}" in out
    assert re.search(
        r"inputs       access_token \d+ characters\n             consumer_secret 6 characters\n", out
    )
    assert re.search(
        r"outputs      returned access_token \(\d+ characters, fingerprint \w+\), refresh_token \(new", out
    )
    assert "verdict      refreshed (tested_not_stored)" in out
    assert "would store  the access token, as generation 2" in out
    assert "put aside, sealed" in out
    assert world.account("acct").generation == 1

    code, _, said = run(fleet, "callbacks", "test", "rotates", "--account", "acct", "--apply")
    assert code == 2
    assert "refreshd accounts edit acct refresh_method=callback" in said
    assert run(fleet, "accounts", "edit", "acct", "refresh_method=callback")[0] == 0
    code, out, said = run(fleet, "callbacks", "test", "rotates", "--account", "acct", "--apply", "--json")
    assert code == 0, said
    assert json.loads(out)["stored"] is True
    assert world.account("acct").generation == 2
    assert world.held("acct").endswith("+")

    found = {line["callback"]: line for line in lines(run(fleet, "callbacks", "list", "--json")[1])}
    assert found["rotates"]["last_run"]["account"] == "acct"
    assert run(fleet, "callbacks", "test", "keeps", "--account", "acct")[0] == 2
    assert run(fleet, "callbacks", "test", "rotates", "--account", "nobody")[0] == 3


def test_what_a_failing_callback_printed_is_shown(world: World, fleet: Fleet) -> None:
    world.add(["acct"], callback="raises")
    callback_worker(fleet, world)

    code, out, _ = run(fleet, "callbacks", "test", "raises", "--account", "acct")

    assert code == 1
    assert "printed      Traceback (most recent call last):" in out
    assert "RuntimeError: the provider did not like [redacted]" in out
    assert "verdict      retry (callback_failed): it raised RuntimeError" in out
    assert "would store  nothing: the account keeps what it has" in out


def test_doctor_status_and_explain_find_a_missing_callback_before_it_is_needed(
    world: World, fleet: Fleet
) -> None:
    world.add(["acct"], refresh_method="callback", callback="rotate", next_refresh_at=None, plan_at=None)
    callback_worker(fleet, world)

    checks = [line for line in lines(run(fleet, "doctor", "--json")[1]) if line["check"] == "callbacks"]
    assert [one["level"] for one in checks] == ["failed", "warning"]
    assert checks[0]["message"].startswith(
        "no running worker knows it: account acct: no callback 'rotate'; did"
    )
    assert "not_there: there is no module" in checks[1]["message"]
    (missing,) = json.loads(run(fleet, "status", "--json")[1])["callbacks_missing"]
    assert (missing["callback"], missing["accounts"], missing["example"]) == ("rotate", 1, "acct")
    assert "callback 'rotate'" in run(fleet, "status")[1]
    causes = {one["cause"] for one in json.loads(run(fleet, "explain", "acct", "--json")[1])["findings"]}
    assert "callback_not_registered" in causes


def test_a_reported_account_is_passed_on_by_a_standard_worker(world: World, fleet: Fleet) -> None:
    world.add(["acct"], refresh_method="callback", callback="keeps")
    arguments = [
        *("worker", "--pool", "threads", "--queues", "urgent", "--hostname", "standard@acceptance"),
        *("--without-gossip", "--without-mingle", "--loglevel", "INFO"),
    ]
    fleet._start(Member("standard", arguments, ready=" ready.", fleet=fleet)).wait_ready()
    callback_worker(fleet, world)

    world.push([("acct", 1)], reason="reported")

    wait_until(lambda: world.account("acct").generation == 2, "the refresh")
    (attempt,) = world.attempts("acct")
    assert (attempt.trigger, attempt.outcome, attempt.worker) == (Trigger.REPORTED, Outcome.REFRESHED, NODE)


def fork_servers_of(member: Member, *, running: int) -> list[psutil.Process]:
    """Wait for so many runs under way, and return the fork servers that make them."""
    found: list[psutil.Process] = []

    def look() -> bool:
        family = psutil.Process(member.pid).children()
        found[:] = [one for one in family if BOOT in one.cmdline() and one.children()]
        return len(found) == running

    wait_until(look, "runs under way")
    return found


def test_nothing_outlives_a_worker_that_is_killed(world: World, fleet: Fleet) -> None:
    world.add(["one", "two"], refresh_method="callback", callback="will-not-end")
    member = callback_worker(fleet, world, concurrency=2)
    world.push([("one", 1)], queue="callback")
    world.push([("two", 1)], queue="callback")
    servers = fork_servers_of(member, running=2)
    runs = [run for server in servers for run in server.children()]
    assert len(runs) == 2

    psutil.Process(member.pid).kill()
    member.process.wait()

    _, alive = psutil.wait_procs([*servers, *runs], timeout=30)
    assert alive == []


def test_sigterm_lets_a_run_end_and_stores_it(world: World, fleet: Fleet) -> None:
    world.add(["acct"], refresh_method="callback", callback="tidies-up")
    member = callback_worker(fleet, world)
    world.push([("acct", 1)], queue="callback")
    wait_until(lambda: bool(world.attempts("acct")), "the attempt")

    os.kill(member.pid, signal.SIGTERM)

    assert member.wait_ended(60) == 0
    assert CallbackHeartbeats(world.stores.redis, "refreshd:").offers() == {}
    (attempt,) = world.attempts("acct")
    assert (attempt.outcome, attempt.reason) == (Outcome.RETRY, "timed_out")


def refreshed_at(port: int) -> float:
    """Read at a worker's port how many refreshes it counted; 0 where nobody serves yet."""
    try:
        told = httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text
    except httpx.TransportError:
        return 0
    series = r'^refreshd_refreshes_total\{outcome="refreshed",provider="[^"]+",reason="refreshed"\} ([\d.]+)$'
    return sum(float(value) for value in re.findall(series, told, re.MULTILINE))


def test_one_port_serves_what_every_run_counted(world: World, fleet: Fleet) -> None:
    world.add(["one", "two"], refresh_method="callback", callback="keeps")
    port = free_port()
    fleet.environment["REFRESHD_METRICS_PORT"] = str(port)
    member = callback_worker(fleet, world)

    world.push([("one", 1)], queue="callback")
    wait_until(lambda: refreshed_at(port) == 1, "the first refresh is counted")
    (server,) = [one for one in psutil.Process(member.pid).children() if BOOT in one.cmdline()]
    server.kill()
    wait_until(lambda: not server.is_running() or server.status() == psutil.STATUS_ZOMBIE, "its end")
    world.push([("two", 1)], queue="callback")

    wait_until(lambda: refreshed_at(port) == 2, "the second one runs in another fork server, and is counted")


@pytest.mark.parametrize("pool", ["prefork", "solo"])
def test_a_callback_worker_on_another_pool_ends_with_the_command_that_works(pool: str, fleet: Fleet) -> None:
    arguments = ["worker", "--pool", pool, "--concurrency", "1", "--queues", "callback", "--hostname", NODE]
    member = fleet._start(Member("callback", arguments, ready=" ready.", fleet=fleet))

    assert member.wait_ended(60) == SettingsError.exit_code
    (line,) = [line for line in member.said.splitlines() if '"startup_failed"' in line]
    assert f"callbacks run on the threads pool, not on celery.concurrency.{pool}" in line
    assert CALLBACK_WORKER in line
    assert "Traceback" not in member.said
