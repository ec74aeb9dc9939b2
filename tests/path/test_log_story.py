"""One grep tells the story of a group: its lines carry the task and the plan, and nobody else's do."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
import structlog

from models.attempt import Trigger
from tests.path.conftest import Bench
from tests.path.test_refresh import granted
from worker.events import configure_logging, correlate


def test_an_attempt_s_line_carries_its_plan_from_a_thread_to_the_event_loop(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logging()
    try:
        bench.add("one")
        bench.add("two")
        bench.answer = granted
        correlate(task_id="task", plan_id="plan-1")
        bench.refresh("one")
        correlate()
        bench.refresh("two")
    finally:
        correlate()
        structlog.reset_defaults()

    attempts: list[dict[str, Any]] = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [(line["account"], line.get("plan_id")) for line in attempts if line["event"] == "attempt"] == [
        ("one", "plan-1"),
        ("two", None),
    ]


def test_what_is_stored_for_many_names_their_tasks_and_is_no_one_s_alone(
    bench: Bench, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: Any, **__: Any) -> None:
        raise ConnectionError("away")

    bench.add("one")
    bench.answer = granted
    monkeypatch.setattr(bench.runtime.shelf, "put", away)
    configure_logging()
    try:
        correlate(task_id="caller", plan_id="plan-1")
        bench.refresh("one")
    finally:
        correlate()
        structlog.reset_defaults()

    (line,) = [json.loads(one) for one in capsys.readouterr().err.splitlines() if '"not_published"' in one]
    assert (line["task_ids"], line.get("plan_id")) == (["task"], None)


def test_a_refused_client_is_named_as_people_know_it(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    client = "0oA1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6"  # a token by its looks
    bench.add(client_id=client)
    configure_logging()
    try:
        bench.answer = lambda _: httpx.Response(401, json={"error": "invalid_client"})
        bench.refresh()
        bench.answer = granted
        bench.runtime.redis.hset(client_breaker(bench), mapping={"until": "0"})
        bench.refresh(trigger=Trigger.FORCED)
    finally:
        structlog.reset_defaults()

    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [
        (line["event"], line["provider"], line["client"])
        for line in lines
        if line["event"].startswith("breaker_")
    ] == [("breaker_open", "acme", client), ("breaker_closed", "acme", client)]


def client_breaker(bench: Bench) -> str:
    (key,) = bench.runtime.redis.scan_iter("*client:*:breaker")
    return str(key)
