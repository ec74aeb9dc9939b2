"""Brokers of a callback task's own: how messages reach them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from models.callback import CallbackInput
from tests.integration.callbacks.test_task import SECRET
from tests.support.sentinels import RedisSet
from worker.callbacks.catalog import configured_callbacks
from worker.callbacks.host.celery_task import TaskClient
from worker.callbacks.host.run_result import Reply
from worker.errors import SettingsError
from worker.redis.client import connect_async
from worker.settings import Settings

#: Longer than a sentinel and its primary need to answer; nobody takes the task.
WITHIN_S = 3.0


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[RedisSet]:
    made = RedisSet(tmp_path / "set", replicas=0, sentinels=1)
    try:
        made.start()
        yield made
    finally:
        made.stop()


def test_a_task_reaches_the_primary_that_its_brokers_sentinels_name(
    redis_url: str, servers: RedisSet
) -> None:
    """Refreshd's own broker is no Sentinel here: neither the primary's name nor the sentinels' login comes from there."""

    async def call() -> Reply:
        client = connect_async(redis_url)
        tasks = TaskClient(client, redis_url, "refreshd:")
        deadline, given = asyncio.get_running_loop().time() + WITHIN_S, CallbackInput()
        reply = await tasks.call(
            "t", "q", SECRET, given, deadline=deadline, on_send=lambda: None, broker=servers.url
        )
        await tasks.aclose()
        await client.aclose()
        return reply

    reply = asyncio.run(call())

    assert reply.failure is not None
    assert "no worker took the task 't' from the queue 'q'" in (reply.failure.fault_detail or "")
    with Redis.from_url(servers.primary.url) as primary:
        assert primary.llen("q") == 1


@pytest.mark.parametrize("url", ["sentinel://10.0.0.1:26379", "sentinel://a:26379;sentinel://b:26379/0"])
def test_a_sentinel_broker_without_a_primarys_name_is_refused_at_the_start(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("TASK_SECRET", SECRET)
    monkeypatch.setenv("TASK_BROKER", url)
    file = settings.data_dir / "callbacks.yaml"
    file.write_text("elsewhere: {task: acme.refresh, secret_env: TASK_SECRET, broker_env: TASK_BROKER}\n")
    with pytest.raises(SettingsError, match=r"elsewhere: TASK_BROKER \(broker_env\): not a Sentinel URL"):
        configured_callbacks(settings.model_copy(update={"callbacks_file": file}))
