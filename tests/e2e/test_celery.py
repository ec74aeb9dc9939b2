"""Celery as its users know it: pools, queues, remote control, and messages that nobody of ours sent."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
from celery.app.amqp import Queues
from kombu import Queue

from tests.e2e.conftest import MakeWorld
from tests.support.fleet import ROOT, Fleet, Member
from tests.support.waiting import wait_until
from tests.support.world import World
from worker.celery.dispatch import empty_urgent_first
from worker.crypto.cipher import generate_key
from worker.redis.client import connect

#: The keyword arguments of `refreshd.refresh` that none of ours can be.
FORGED: Final[tuple[dict[str, Any], ...]] = (
    {},
    {"accounts": None},
    {"accounts": []},
    {"accounts": "acct"},
    {"accounts": [["acct"]]},
    {"accounts": [["acct", "1"]]},
    {"accounts": [["acct", True]]},
    {"accounts": [["acct", 2**70]]},
    {"accounts": [["acct}{x", 1]]},
    {"accounts": [["acct\n", 1]]},
    {"accounts": [["x" * 1_000_000, 1]]},
    {"accounts": [["acct", 1]] * 2000},
    {"accounts": [["acct", 1]], "reason": "because"},
    {"accounts": [["acct", 1]], "reason": ["forced"]},
    {"accounts": [["nobody", 1]], "reason": "forced"},
    {"accounts": [["acct", 1]], "verify": False},
)
#: What anybody who reaches Redis could push onto a queue: no message at all.
GARBAGE: Final = (
    b"",
    b"{}",
    b"[]",
    b"null",
    b"garbage",
    b"\xff\x00",
    b'{"body": 1}',
    b'{"body": "!", "headers": {}}',
    b'{"body": "e30=", "headers": [], "properties": {"delivery_tag": "1"}}',
    b'{"body": "%%%", "headers": {}, "properties": {"body_encoding": "base64", "delivery_tag": "2"}}',
    (
        b'{"body": "e30=", "headers": {}, "properties": {"body_encoding": "base64", "delivery_tag": "3",'
        b' "delivery_info": {"exchange": "", "routing_key": "refresh"}}}'
    ),
    (
        b'{"body": "AAAA", "content-type": "application/x-python-serialize", "content-encoding": "binary",'
        b' "headers": {"task": "refreshd.refresh", "id": "x", "lang": "py"}, "properties": {"body_encoding":'
        b' "base64", "delivery_tag": "4", "delivery_info": {"exchange": "", "routing_key": "refresh"}}}'
    ),
    # Found by fuzzing: read as a message, and then no body.
    (
        b'{"body": null, "content-type": "application/json", "content-encoding": "utf-8", "headers": {"task":'
        b' "refreshd.refresh", "id": "x", "lang": "py"}, "properties": {"body_encoding": "base64",'
        b' "delivery_tag": "5", "delivery_info": {"exchange": "", "routing_key": "refresh"}}}'
    ),
)


@pytest.mark.parametrize(
    "named", [["refresh", "urgent", "control"], ["mine", "control", "refresh", "urgent"]]
)
def test_a_worker_empties_its_queues_in_our_order_however_they_are_named(named: list[str]) -> None:
    queues = Queues([Queue(name) for name in ("refresh", "mine", "control", "urgent", "callback")])
    queues.select(named)
    empty_urgent_first(queues)
    assert list(queues.consume_from) == ["urgent", "control", "refresh", *({"mine"} & set(named))]


@pytest.fixture
def sqlite_fleet(sqlite_world: World, tmp_path: Path) -> Iterator[Fleet]:
    """A fleet whose processes start as in a deployment."""
    with Fleet(sqlite_world.environment, tmp_path, forked=False) as made:
        yield made


def test_forged_messages_do_not_harm_a_worker(world: World, fleet: Fleet) -> None:
    world.add(["acct"])
    worker = fleet.worker(concurrency=2).wait_ready()
    for arguments in FORGED:
        world.send("refreshd.refresh", arguments, "refresh")
    world.send("refreshd.unknown", {}, "refresh")
    world.push([("acct", 1)], queue="refresh")

    wait_until(lambda: world.all_refreshed(["acct"]), "work goes on")
    wait_until(lambda: not world.stores.redis.exists("refresh"), "everything taken")
    assert worker.alive
    assert world.provider.refreshes == 1


def test_garbage_on_a_queue_does_not_end_a_worker(sqlite_world: World, sqlite_fleet: Fleet) -> None:
    world = sqlite_world
    worker = sqlite_fleet.worker(concurrency=2).wait_ready()
    client = connect(world.environment["REFRESHD_REDIS_URL"])
    for number, raw in enumerate(GARBAGE):
        client.lpush("refresh", raw)
        account = f"after-{number}"
        world.add([account])
        world.push([(account, 1)], queue="refresh")
        wait_until(partial(refreshed_or_ended, world, account, worker), f"work goes on after {raw!r}")
        assert worker.alive, (raw, worker.said[-3000:])
    client.close()


def refreshed_or_ended(world: World, account: str, worker: Member) -> bool:
    return world.all_refreshed([account]) or not worker.alive


@pytest.mark.parametrize("pool", ["threads", "prefork"])
def test_a_worker_takes_no_callbacks_unless_its_queues_name_them(
    pool: str, world: World, fleet: Fleet
) -> None:
    world.add(["acct", "other"])
    fleet.worker(pool, pool=pool, concurrency=2).wait_ready()
    world.push([("acct", 1)], queue="callback")
    world.push([("other", 1)])
    wait_until(lambda: world.all_refreshed(["other"]), "the standard worker works")
    assert world.account("acct").generation == 1
    assert world.stores.redis.llen("callback") == 1

    arguments = [
        *("worker", "--pool", "threads", "--queues", "callback,urgent,refresh"),
        *("--hostname", "both@acceptance", "--loglevel", "INFO"),
    ]
    fleet.members[pool].kill()
    fleet._start(Member("both", arguments, ready=" ready.", fleet=fleet)).wait_ready()
    wait_until(lambda: world.all_refreshed(["acct"]), "the worker whose queues name it takes it")
    world.push([("acct", 2)])
    wait_until(lambda: world.all_refreshed(["acct"], beyond=2), "and takes from the other queue as well")


def test_inspect_ping_is_answered_by_workers_and_beats(sqlite_fleet: Fleet) -> None:
    worker = sqlite_fleet.worker()
    beat = sqlite_fleet.beat()
    sqlite_fleet.wait_ready()
    wait_until(lambda: "pidbox: Connected" in beat.said, "beat listens")

    answer = subprocess.run(
        [sys.executable, "-m", "celery", "-A", "worker.app", "inspect", "ping", "--timeout", "5"],
        cwd=ROOT, env=sqlite_fleet.environment, capture_output=True, text=True, check=True, timeout=60,
    ).stdout  # fmt: skip

    assert f"{worker.name}@acceptance" in answer
    assert "celerybeat@" in answer
    assert answer.count("pong") == 2
    beat.terminate()
    assert beat.wait_ended(20) == 0
    assert "Traceback" not in beat.said


def test_with_message_keys_only_signed_messages_are_taken(
    make_world: MakeWorld, sqlite_url: str, redis_url: str, tmp_path: Path
) -> None:
    world = make_world(sqlite_url, redis_url, message_keys=generate_key("m1"))
    world.add(["unsigned", "called"])
    with Fleet(world.environment, tmp_path) as fleet:
        worker = fleet.worker(concurrency=2).wait_ready()
        world.push([("unsigned", 1)])
        wait_until(
            lambda: '"message_refused"' in worker.said and '"unsigned"' in worker.said, "it is refused"
        )

        subprocess.run(
            [sys.executable, "-m", "celery", "-A", "worker.app", "call", "refreshd.refresh", "--queue", "refresh",
             "--kwargs", json.dumps({"accounts": [["called", 1]], "reason": "forced"})],
            cwd=ROOT, env=fleet.environment, check=True, capture_output=True, timeout=60,
        )  # fmt: skip
        wait_until(lambda: world.all_refreshed(["called"]), "an operator's call is signed by the environment")

        assert world.account("unsigned").generation == 1
        fleet.beat()
        wait_until(lambda: world.all_refreshed(["unsigned"]), "beat's plans and their messages are signed")
