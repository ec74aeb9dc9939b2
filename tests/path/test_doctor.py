"""`doctor` on real stores: a fault each, and what it says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
from pydantic import SecretStr

from models.outbox import Message
from tests.path.conftest import Bench
from worker.doctor import Level, examine
from worker.io.cipher import generate_key
from worker.io.outbox import Outcome
from worker.settings import Settings
from worker.stores import Stores

ALL: Mapping[str, Sequence[str]] = {"celery@one": ["control", "refresh", "urgent"]}


def failed(settings: Settings, workers: Mapping[str, Sequence[str]] | None = ALL) -> dict[str, str]:
    here = Stores(settings)
    found = {one.check: one.words for one in examine(here, lambda: workers) if one.level is Level.FAILED}
    here.close()
    return found


def test_a_fleet_without_beat_is_told_so(settings: Settings) -> None:
    assert failed(settings) == {"beat": "nothing was ever planned"}


def test_a_queue_that_nobody_takes_from_is_named(settings: Settings) -> None:
    assert failed(settings, {"w": ["refresh"]})["workers"] == "nobody takes from urgent, control"


def test_no_worker_at_all(settings: Settings) -> None:
    assert failed(settings, None)["workers"] == "nobody takes from urgent, control, refresh"


def test_a_callback_account_needs_a_callback_worker(bench: Bench, settings: Settings) -> None:
    bench.add(refresh_method="callback", callback="acme")
    assert failed(settings)["workers"] == "nobody takes from callback"


def test_a_missing_key_is_counted(bench: Bench, settings: Settings) -> None:
    bench.add()
    other = settings.model_copy(update={"keys": SecretStr(generate_key("other"))})
    assert failed(other)["keys"] == "3 values are sealed with key 'k1', which is not configured"


def test_a_redis_that_evicts_is_a_danger(bench: Bench, settings: Settings) -> None:
    bench.runtime.redis.config_set("maxmemory-policy", "allkeys-lru")
    try:
        assert "allkeys-lru" in failed(settings)["redis eviction"]
    finally:
        bench.runtime.redis.config_set("maxmemory-policy", "noeviction")


@pytest.mark.parametrize("url", ["redis://127.0.0.1:1/0"])
def test_an_unreachable_redis_is_said_with_its_remedy(settings: Settings, url: str) -> None:
    assert "Connection refused" in failed(settings.model_copy(update={"redis_url": SecretStr(url)}))["redis"]


def test_a_webhook_that_does_not_take_what_it_is_sent_is_named(settings: Settings) -> None:
    here = Stores(settings)
    message = Message(
        id="msg_1", endpoint="hooks.example-1", type="degraded", topic="t", subject="s", body="{}"
    )
    here.outbox.add([message])
    here.outbox.settle([Outcome("msg_1", "hooks.example-1", 500, "HTTP 500", 60)])

    (found,) = [one for one in examine(here, lambda: ALL) if one.check == "webhooks"]
    here.close()

    assert found.level is Level.WARNING
    assert "1 waiting, 0 put aside; the last attempt got: HTTP 500" in found.words
