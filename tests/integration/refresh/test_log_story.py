"""One grep tells the story of a group: its lines carry the task and the plan, and nobody else's do."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
import structlog

from models.rate_limit import WaitReason
from models.tables.attempt import Trigger
from tests.integration.conftest import Bench
from tests.integration.refresh.test_refresher import granted
from worker.log import configure_logging, correlate


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
    monkeypatch.setattr(bench.runtime.publisher, "put", away)
    configure_logging()
    try:
        correlate(task_id="caller", plan_id="plan-1")
        bench.refresh("one")
    finally:
        correlate()
        structlog.reset_defaults()

    (line,) = [json.loads(one) for one in capsys.readouterr().err.splitlines() if '"not_published"' in one]
    assert (line["task_ids"], line.get("plan_id")) == (["task"], None)


def test_a_refused_client_s_gate_is_logged_without_what_proves_the_client(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logging()
    accounts = ("a", "b", "c")
    for account in accounts:
        bench.add(account, succeeded_at=1.0)
    try:
        bench.answer = lambda _: httpx.Response(401, json={"error": "invalid_client"})
        for account in accounts:
            bench.refresh(account)
        bench.answer = granted
        bench.refresh("a", trigger=Trigger.FORCED)
        bench.runtime.run(bench.runtime.admission.close())
    finally:
        structlog.reset_defaults()

    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    told = [(line["event"], line["cause"]) for line in lines if line["event"].startswith("gate_")]
    assert told == [("gate_closed", WaitReason.REFUSED), ("gate_opened", WaitReason.REFUSED)]
    assert all("client-secret" not in str(line) for line in lines)
