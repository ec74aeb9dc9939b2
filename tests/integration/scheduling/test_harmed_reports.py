"""A connector's user chooses ids in the stream of reports, and trims it: others' reports go on, on each server at hand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from pydantic import SecretStr
from structlog.testing import capture_logs

from models.tables.attempt import Trigger
from refreshd_reader.contract import REJECTED_MAXLEN, Keys, Rejection
from tests.integration.reader.acl_server import AclRedisServer, refusals
from tests.integration.scheduling.test_rejected_tokens import Dispatched
from tests.support.server_binaries import redis_binaries
from tests.support.waiting import wait_until
from worker.context import AppContext
from worker.crypto.cipher import generate_key
from worker.diagnostics.doctor.reports import check_reports
from worker.monitoring.metrics import worker_metrics
from worker.redis.client import connect
from worker.redis.report_stream import IDS_AHEAD, KEPT_MAX, TRIMMED, ReportStream
from worker.scheduling.rejected_tokens import GROUP, ReportReader, connect_for_reports
from worker.settings import Settings

STREAM = Keys().rejected
HIGHEST = "18446744073709551615-18446744073709551615"


@pytest.fixture(scope="module", params=redis_binaries(), ids=lambda path: path.name)
def users(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[AclRedisServer]:
    server = AclRedisServer(tmp_path_factory.mktemp("harmed"))
    server.binary = request.param
    server.start()
    yield server
    server.stop()


@pytest.fixture
def administrator(users: AclRedisServer) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(users.url, decode_responses=True) as client:
        client.flushall()
        client.acl_log_reset()
        yield client


@pytest.fixture
def connector(users: AclRedisServer) -> Iterator[redis.Redis]:
    with connect(users.url_as("connector")) as client:
        yield client


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.redis.report_stream.TRIM_EVERY_S", 0.0)


@pytest.fixture
def dispatched(users: AclRedisServer, administrator: redis.Redis) -> Iterator[Dispatched]:  # noqa: ARG001  (empties)
    found = Dispatched()
    reader = ReportReader(connect_for_reports(users.url_as("worker")), Keys(), found, consumer="one")
    reader.start()
    yield found
    reader.stop()


def report(client: redis.Redis, account: str, generation: int = 1, **how: Any) -> None:
    entry: dict[Any, Any] = dict(Rejection(account, generation, 401).to_entry())
    client.xadd(STREAM, entry, **{"maxlen": REJECTED_MAXLEN, "approximate": True, **how})


def accepted(client: redis.Redis, account: str) -> bool:
    try:
        report(client, account)
    except redis.ResponseError:
        return False
    return True


def warnings_of_doctor(url: str, folder: Path) -> list[str]:
    here = AppContext(Settings(redis_url=SecretStr(url), keys=SecretStr(generate_key()), data_dir=folder))
    try:
        return [found.message for found in check_reports(here)]
    finally:
        here.close()


def mended(why: str) -> float:
    return (
        worker_metrics().registry.get_sample_value("refreshd_report_streams_mended_total", {"why": why})
        or 0.0
    )


@pytest.mark.parametrize("identity", [HIGHEST, "18446744073709551615-0", "9999999999999-7"])
def test_an_id_ahead_of_time_ends_reports_for_nobody(
    connector: redis.Redis,
    dispatched: Dispatched,
    administrator: redis.Redis,
    users: AclRedisServer,
    tmp_path: Path,
    identity: str,
) -> None:
    before = mended(IDS_AHEAD)
    with capture_logs() as logs:
        report(connector, "before")
        report(connector, "highest", id=identity)
        wait_until(lambda: mended(IDS_AHEAD) > before, "the stream is made anew")
        wait_until(lambda: accepted(connector, "after"), "reports are accepted again")
        dispatched.wait_for(3)

    assert {account for (account, _), _ in dispatched.messages} == {"before", "highest", "after"}
    assert {trigger for _, trigger in dispatched.messages} == {Trigger.REPORTED}
    assert [line["why"] for line in logs if line["event"] == "report_stream_made_anew"] == [IDS_AHEAD]
    (warning,) = warnings_of_doctor(users.url_as("worker"), tmp_path)
    assert "an entry had chosen an id ahead of time" in warning
    assert refusals(administrator) == []


def test_reports_that_wait_and_that_a_worker_holds_survive_the_new_stream(
    connector: redis.Redis, administrator: redis.Redis, users: AclRedisServer
) -> None:
    administrator.xgroup_create(STREAM, GROUP, id="0", mkstream=True)
    report(connector, "held")
    administrator.xreadgroup(GROUP, "killed", {STREAM: ">"}, count=1)
    report(connector, "waits")
    connector.xadd(STREAM, {str(number): "x" for number in range(20_000)})
    report(connector, "last", id=HIGHEST)
    with connect(users.url_as("worker")) as worker:
        found = ReportStream(worker, Keys(), GROUP).look()
        again = ReportStream(worker, Keys(), GROUP).look()

    assert found is not None
    assert (found.why, found.kept) == (IDS_AHEAD, 3)
    assert again is None
    entries: Any = administrator.xrange(STREAM)
    assert [fields["account"] for _, fields in entries] == ["held", "waits", "last"]


def test_a_stream_of_plain_reports_stays_as_it_is(connector: redis.Redis, users: AclRedisServer) -> None:
    with connect(users.url_as("worker")) as worker:
        assert ReportStream(worker, Keys(), GROUP).look() is None
        pipeline = connector.pipeline(transaction=False)
        for number in range(REJECTED_MAXLEN + KEPT_MAX):
            report(pipeline, f"a{number}")
        pipeline.execute()
        assert ReportStream(worker, Keys(), GROUP).look() is None


@pytest.mark.parametrize(
    "how", [{"maxlen": 0, "approximate": False}, {"maxlen": None, "minid": HIGHEST, "approximate": False}]
)
def test_a_stream_that_a_connector_trimmed_is_noticed(
    connector: redis.Redis,
    dispatched: Dispatched,
    users: AclRedisServer,
    tmp_path: Path,
    how: dict[str, Any],
) -> None:
    before = mended(TRIMMED)
    report(connector, "others")
    dispatched.wait_for(1)
    report(connector, "trims", **how)

    wait_until(lambda: mended(TRIMMED) > before, "trimming is noticed")
    report(connector, "after")
    wait_until(lambda: "after" in {account for (account, _), _ in dispatched.messages}, "reports go on")
    assert any("trimmed away" in message for message in warnings_of_doctor(users.url_as("worker"), tmp_path))
