"""Flower as an operator meets it: a login that nobody had to set, and tasks that say what became of accounts."""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import psutil
import pytest

from tests.support.fleet import Fleet
from tests.support.providers.grants import Fault
from tests.support.providers.scripted_provider import ScriptedProvider
from tests.support.server_process import free_port
from tests.support.services import RedisServer
from tests.support.waiting import wait_until
from tests.support.world import World
from worker.db.fleet.counts import look

PAGES: Final = (
    "/",
    "/workers",
    "/worker/worker@acceptance",
    "/tasks",
    "/tasks/datatable",
    "/task/x",
    "/broker",
)
API: Final = ("/api/workers", "/api/tasks", "/api/task/types", "/api/task/info/x", "/api/queues/length")
GROUP: Final = ("one", "two", "three")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("flower")


@pytest.fixture(scope="module")
def world(folder: Path, redis_service: RedisServer, sqlite_template: Path) -> Iterator[World]:
    database = folder / "refreshd.db"
    database.write_bytes(sqlite_template.read_bytes())
    port = str(free_port())
    with ScriptedProvider(latency_s=0) as provider:
        provider.script = lambda grant: Fault.UNAVAILABLE if grant.account == "down" else None
        made = World(f"sqlite:///{database}", redis_service.url_of(15), folder, provider, flower_port=port)
        made.stores.redis.flushdb()
        yield made
        made.close()


@pytest.fixture(scope="module")
def fleet(folder: Path, world: World) -> Iterator[Fleet]:
    """A worker and Flower, for which no login was set; a group was refreshed, one failed and one is tried again."""
    with Fleet(world.environment, folder) as made:
        made.worker(concurrency=1)
        made.flower()
        made.wait_ready()
        with browser(made) as pages:
            wait_until(
                lambda: "worker@acceptance" in pages.get("/workers?json=1").text, "Flower sees the worker"
            )
            world.plan()
            wait_until(lambda: look(world.stores.engine).planned_at is not None, "a plan found nothing due")
            world.add([*GROUP, "revoked", "down"])
            world.provider.grants["revoked"].revoked = True
            world.push([(account, 1) for account in GROUP])
            world.push([("revoked", 1)])
            world.push([("down", 1), ("two", 2)])
            wait_until(lambda: len(ended(pages)) == 3, "Flower has seen all three")
        yield made


def browser(fleet: Fleet, login: tuple[str, str] | None = None) -> httpx.Client:
    """Open the pages, as whoever read the login that was made."""
    login = login or made_login(fleet)
    port = fleet.environment["REFRESHD_FLOWER_PORT"]
    return httpx.Client(base_url=f"http://127.0.0.1:{port}", auth=login, trust_env=False, timeout=20)


def made_login(fleet: Fleet) -> tuple[str, str]:
    user, _, password = (fleet.folder / "flower.login").read_text().strip().partition(":")
    return user, password


@pytest.fixture
def pages(fleet: Fleet) -> Iterator[httpx.Client]:
    with browser(fleet) as opened:
        yield opened


def listed(pages: httpx.Client) -> list[dict[str, Any]]:
    """Return the rows of the page of tasks, oldest first, as the page itself asks for them."""
    query: dict[str, str | int] = {
        "draw": 1,
        "start": 0,
        "length": 50,
        "search[value]": "",
        "order[0][column]": 0,
    }
    query |= {"order[0][dir]": "asc", "columns[0][data]": "received"}
    rows: list[dict[str, Any]] = pages.get("/tasks/datatable", params=query).json()["data"]
    return [row for row in rows if row["name"] == "refreshd.refresh"]


def sent(pages: httpx.Client) -> list[dict[str, Any]]:
    """Return the tasks as the API has them: what was sent, not what is shown."""
    return [task for task in pages.get("/api/tasks").json().values() if task["name"] == "refreshd.refresh"]


def ended(pages: httpx.Client) -> list[dict[str, Any]]:
    return [task for task in sent(pages) if task["state"] not in {"PENDING", "RECEIVED", "STARTED"}]


def about(pages: httpx.Client, account: str) -> dict[str, Any]:
    return next(task for task in sent(pages) if f"'{account}'" in task["kwargs"])


@pytest.mark.parametrize("login", [None, ("refreshd", "wrong"), ("", ""), ("refreshd", "")])
def test_without_the_login_there_is_nothing_to_see(fleet: Fleet, login: tuple[str, str] | None) -> None:
    with browser(fleet) as stranger:
        stranger.auth = login  # type: ignore[assignment]  # httpx's setter takes None
        answers = {path: stranger.get(path) for path in (*PAGES, *API)}
    assert {path: answer.status_code for path, answer in answers.items()} == dict.fromkeys(answers, 401)
    challenge = answers["/tasks"].headers["WWW-Authenticate"]
    assert challenge == 'Basic realm="flower"', "a browser asks for user and password"


def test_a_login_that_was_made_is_its_owner_s_alone(fleet: Fleet) -> None:
    file = fleet.folder / "flower.login"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    said = fleet.members["flower"].said
    assert str(file) in said
    assert made_login(fleet)[1] not in said


def test_flower_listens_on_loopback(fleet: Fleet) -> None:
    connections = psutil.Process(fleet.members["flower"].pid).net_connections(kind="inet")
    listening = {one.laddr.ip for one in connections if one.status == psutil.CONN_LISTEN}
    assert listening == {"127.0.0.1"}


def test_with_the_login_workers_and_tasks_are_there(pages: httpx.Client) -> None:
    workers = pages.get("/workers")
    assert workers.status_code == 200
    assert "worker@acceptance" in workers.text
    columns = re.findall(r'<th data-column="(\w+)">', pages.get("/tasks").text)
    assert columns == ["name", "state", "kwargs", "result", "runtime", "received"]
    assert [(row["state"], row["kwargs"], row["result"]) for row in listed(pages)] == [
        ("SUCCESS", "forced: one, two, three", "3 refreshed"),
        ("FAILURE", "forced: revoked", "1 reauthorize (revoked: invalid_grant)"),
        ("RETRY", "forced: down, two", "1 retry (down: server_error); 1 refreshed"),
    ]


def test_a_group_that_went_well_succeeded(pages: httpx.Client) -> None:
    row = about(pages, "one")
    assert (row["state"], row["exception"]) == ("SUCCESS", None)
    assert row["result"].startswith("{'refreshed': 3, 'accounts': {")


def test_a_failed_refresh_looks_failed(pages: httpx.Client) -> None:
    row = about(pages, "revoked")
    assert (row["state"], row["exception"]) == ("FAILURE", "revoked reauthorize: invalid_grant")
    assert row["result"].startswith("{'reauthorize': 1, 'accounts': {'revoked': ")
    assert (row["traceback"], row["runtime"] > 0) == (None, True)


def test_a_retry_looks_retried_and_its_neighbour_s_outcome_is_there(pages: httpx.Client) -> None:
    row = about(pages, "down")
    assert (row["state"], row["exception"]) == ("RETRY", "1 of 2 accounts: down retry: server_error")
    assert "'two': {'outcome': 'refreshed'" in row["result"]


@pytest.mark.parametrize(
    ("account", "badge"), [("one", "SUCCESS"), ("revoked", "FAILURE"), ("down", "RETRY")]
)
def test_a_task_s_page_tells_its_story(pages: httpx.Client, account: str, badge: str) -> None:
    row = about(pages, account)
    page = pages.get(f"/task/{row['uuid']}")
    assert page.status_code == 200
    assert re.search(rf'<span class="badge [\w-]+">{badge}</span>', page.text)
    assert "refreshd.refresh" in page.text
    assert f"<code>forced: {account}" in page.text
    assert "Traceback" not in page.text


def test_the_worker_s_page_opens(pages: httpx.Client) -> None:
    wait_until(lambda: pages.get("/worker/worker@acceptance").status_code == 200, "the worker was inspected")
    assert "refreshd.refresh" in pages.get("/worker/worker@acceptance").text


@pytest.mark.parametrize(
    "path",
    [
        "worker/shutdown/worker@acceptance",
        "task/send-task/refreshd.plan",
        "task/apply/refreshd.plan",
        "task/revoke/x",
    ],
)
def test_nobody_controls_workers_through_the_pages(fleet: Fleet, pages: httpx.Client, path: str) -> None:
    assert pages.post(f"/api/{path}").status_code == 403
    assert fleet.members["worker"].alive


def test_a_plan_is_listed_where_it_planned_something(world: World, pages: httpx.Client) -> None:
    def plans() -> list[dict[str, Any]]:
        return [task for task in pages.get("/api/tasks").json().values() if task["name"] == "refreshd.plan"]

    assert plans() == []
    world.add(["late"])
    world.plan()
    wait_until(lambda: any(plan["state"] == "SUCCESS" for plan in plans()), "the plan is listed")
    assert all(re.match(r"{'planned': [1-9]", plan["result"]) for plan in plans())
