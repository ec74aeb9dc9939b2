"""Traces: real processes send them to a receiver of OTLP; one a message, from the plan to the publication."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.support.fleet import ROOT, Fleet
from tests.support.otlp_receiver import OtlpReceiver, ReceivedSpan
from tests.support.providers.grants import Fault, access_token, refresh_token
from tests.support.waiting import wait_until
from tests.support.world import World

ACCOUNTS: Final = ["acct-1", "acct-2", "acct-3"]
#: What a connector's own trace may look like.
CONNECTOR: Final = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def receiver() -> Iterator[OtlpReceiver]:
    with OtlpReceiver() as running:
        yield running


def traced(world: World, receiver: OtlpReceiver, folder: Path) -> Fleet:
    environment = {
        **world.environment,
        "REFRESHD_TRACES": "true",
        "REFRESHD_TRACES_IN_EVENTS": "true",
        "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint,
        "OTEL_BSP_SCHEDULE_DELAY": "200",
        "NO_PROXY": "127.0.0.1",
    }
    return Fleet(environment, folder)


def test_one_trace_leads_from_the_plan_to_the_publication_of_each_account_and_holds_no_secret(
    sqlite_world: World, receiver: OtlpReceiver, tmp_path: Path
) -> None:
    world = sqlite_world
    world.add(ACCOUNTS)
    world.provider.script = lambda grant: Fault.UNAVAILABLE if grant.account == "acct-3" else None
    with traced(world, receiver, tmp_path) as fleet:
        fleet.worker()
        fleet.beat()
        fleet.wait_ready()
        wait_until(lambda: ended(receiver, "acct-3", "commit") is not None, "the failure is traced")
        wait_until(lambda: ended(receiver, "acct-1", "publish") is not None, "the refresh is traced")
        held = world.held("acct-1")
        report = {"account": "acct-1", "generation": "2", "http_status": "401", "traceparent": CONNECTOR}
        world.stores.redis.xadd(world.stores.keys.rejected, report)  # type: ignore[arg-type]
        wait_until(lambda: any(one.name == "report" for one in receiver.spans()), "the report is traced")

    assert receiver.spans()
    assert receiver.services == {"refreshd"}
    commit = ended(receiver, "acct-1", "commit")
    assert commit is not None
    assert [one.name for one in upwards(receiver, commit)] == [
        "commit",
        "refresh",
        "refreshd.refresh",
        "plan",
    ]
    same = {one.name for one in receiver.spans() if one.trace == commit.trace}
    assert same >= {"plan", "refreshd.refresh", "open", "lease", "refresh", "call", "commit", "publish"}
    (report_span,) = [one for one in receiver.spans() if one.name == "report"]
    assert (report_span.trace, report_span.parent) == (CONNECTOR.split("-")[1], CONNECTOR.split("-")[2])
    failed = [one for one in receiver.spans() if one.attributes.get("refreshd.account") == "acct-3"]
    assert failed[0].failed
    assert failed[0].attributes["refreshd.outcome"] == "retry"
    (status,) = {
        one.attributes["http.response.status_code"]
        for one in receiver.spans()
        if one.name == "call" and one.parent == failed[0].id
    }
    assert status == 503
    entries: Any = world.stores.redis.xrange(world.stores.keys.events)
    refreshed = next(fields for _, fields in entries if fields.get("account") == "acct-1")
    assert refreshed["traceparent"].split("-")[1] == commit.trace
    secrets = [make("acct-1", serial) for make in (access_token, refresh_token) for serial in range(4)]
    assert held in secrets
    for secret in (*secrets, world.environment["REFRESHD_KEYS"], world.provider.token_url):
        assert not any(secret.encode() in body for body in receiver.bodies)


def ended(receiver: OtlpReceiver, account: str, name: str) -> ReceivedSpan | None:
    """Return a step of an account's first refresh that has arrived."""
    spans = {one.id: one for one in receiver.spans()}
    for one in spans.values():
        parent = spans.get(one.parent)
        if one.name == name and parent is not None and parent.attributes.get("refreshd.account") == account:
            return one
    return None


def upwards(receiver: OtlpReceiver, span: ReceivedSpan) -> Iterator[ReceivedSpan]:
    spans = {one.id: one for one in receiver.spans()}
    found: ReceivedSpan | None = span
    while found is not None:
        yield found
        found = spans.get(found.parent)


def test_no_tracer_and_no_exporter_is_imported_while_traces_are_off() -> None:
    """redis-py imports OpenTelemetry's metrics where they are installed; refreshd itself imports nothing of it."""
    code = "import sys, tasks, worker.runtime; print([name for name in sys.modules if name.startswith(('opentelemetry.sdk.trace', 'opentelemetry.exporter'))])"
    environment = {"PATH": "", "REFRESHD_REDIS_URL": "redis://127.0.0.1:1/0"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"
