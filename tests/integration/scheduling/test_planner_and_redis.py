"""A Redis that refuses (out of memory, a replica, a key of another kind), or that does not answer."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from celery import Celery

from models.tables.attempt import Trigger
from tests.integration.conftest import Bench
from worker.accounts.publisher import CommandPublisher
from worker.broker.queues import CALLBACK, REFRESH
from worker.celery.dispatch import dispatch_with
from worker.errors import RedisUnreachable


@pytest.fixture
def refused(bench: Bench) -> Bench:
    """A bench whose Redis refuses what is done with the queues: they are no lists."""
    for queue in (REFRESH, CALLBACK):
        bench.runtime.redis.set(queue, "no list")
    return bench


@pytest.fixture
def app(bench: Bench) -> Iterator[Celery]:
    made = Celery("refused", broker=bench.runtime.settings.redis, set_as_current=False)
    yield made
    made.close()


def send_nothing(accounts: Sequence[tuple[str, int]], *, trigger: Trigger, callback: bool) -> None:
    raise AssertionError(f"sent: {accounts} {trigger} {callback}")


def test_a_plan_that_can_t_ask_for_its_queue_says_so_in_words(refused: Bench) -> None:
    refused.add()
    with pytest.raises(RedisUnreachable, match="can't be used"):
        refused.runtime.planner(send_nothing).plan()
    assert refused.account().plan_at == refused.account().next_refresh_at, "nothing was claimed"


def test_what_a_refusing_broker_did_not_take_is_given_back_at_once(
    refused: Bench, app: Celery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refused.runtime, "_messages_in", lambda _: 0)
    refused.add()
    refused.add("mine", refresh_method="callback", callback="mine")
    planner = refused.runtime.planner(dispatch_with(app))

    planned = planner.plan()

    assert (planned.accounts, planned.messages) == (0, 0)
    for account in ("acct", "mine"):
        row = refused.account(account)
        assert row.plan_at == row.next_refresh_at, "no other plan would see it for 20 seconds"


def test_a_reconcile_does_not_wait_for_a_redis_that_takes_no_writes_any_more(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.redis.client.SOCKET_TIMEOUT_S", 0.5)
    client: Any = bench.runtime.redis
    client.client_pause(60_000, all=False)
    try:
        with pytest.raises(RedisUnreachable):
            bench.runtime.run(bench.runtime.reconciler.reconcile())
    finally:
        client.client_unpause()


def test_a_command_does_not_wait_for_a_redis_that_never_answers(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.redis.client.SOCKET_TIMEOUT_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}"
        with (
            CommandPublisher(
                redis_url=lambda: url, keys=bench.runtime.keys, store=bench.runtime.publication_store
            ) as publisher,
            pytest.raises(RedisUnreachable, match="Nothing was removed"),
        ):
            publisher.require()
