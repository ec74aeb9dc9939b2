"""`refreshd webhooks`: what an operator types, and what comes back."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from standardwebhooks import Webhook

from models.tables.outbox import Message
from tests.integration.notifications.conftest import SECRET, webhook_settings
from tests.support.server_process import free_port
from worker.cli import main
from worker.context import AppContext
from worker.db.outbox import DeliveryOutcome

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def url() -> str:
    return f"http://127.0.0.1:{free_port()}/hook?key=url-secret"


@pytest.fixture
def here(sqlite_url: str, redis_url: str, tmp_path: Path, url: str) -> Iterator[AppContext]:
    made = AppContext(
        webhook_settings(
            sqlite_url, redis_url, tmp_path, webhook_url=SecretStr(url), allow_http_hosts=("127.0.0.1",)
        )
    )
    yield made
    made.close()


@pytest.fixture
def run(
    sqlite_url: str,
    url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Run:
    for name, value in {
        "DATABASE_URL": sqlite_url,
        "WEBHOOK_URL": url,
        "WEBHOOK_SECRET": SECRET,
        "ALLOW_HTTP_HOSTS": "127.0.0.1",
    }.items():
        monkeypatch.setenv(f"REFRESHD_{name}", value)
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["refreshd", "webhooks", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        output = capsys.readouterr()
        return int(ended.value.code or 0), output.out, output.err

    return run


def dead_lettered(here: AppContext) -> str:
    (endpoint,) = here.endpoints
    body = json.dumps({"type": "degraded", "data": {"account": "acme-1"}})
    here.outbox.add(
        [Message(id="msg_1", endpoint=endpoint.name, type="degraded", topic="t", subject="s", body=body)]
    )
    here.outbox.settle([DeliveryOutcome("msg_1", endpoint.name, 500, "HTTP 500", None, given_up=True)])
    return endpoint.name


def test_a_made_secret_signs(run: Run) -> None:
    code, out, _ = run("secret")
    assert code == 0
    Webhook(out.strip())  # raises where it is none


def test_a_test_that_nobody_takes_fails_and_says_why_without_the_url(run: Run) -> None:
    code, out, _ = run("test", "--json")
    answer: dict[str, Any] = json.loads(out)
    assert (code, answer["ok"]) == (1, False)
    assert "url-secret" not in out
    assert "Connect" in answer["error"]


def test_what_was_dead_lettered_is_listed_and_sent_again(run: Run, here: AppContext) -> None:
    endpoint = dead_lettered(here)

    code, out, _ = run("list", "--json")
    backlog, message = map(json.loads, out.splitlines())
    assert (code, backlog["endpoint"], backlog["dead_lettered"]) == (0, endpoint, 1)
    assert (message["webhook"], message["state"], message["error"]) == ("msg_1", "dead_lettered", "HTTP 500")
    _, out, _ = run("list")
    assert "dead-lettered" in out
    assert "acme-1" in out

    assert run("retry", "msg_2")[0] == 2
    code, out, _ = run("retry", "msg_1")
    assert (code, out.strip()) == (0, "1 message is on the way again")
    assert [one.waiting for one in here.outbox.backlog()] == [1]


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("WEBHOOK_URL", "http://hooks.example/", "plain http to hooks.example is refused"),
        ("WEBHOOK_URL", "https://user:pass@hooks.example/", "user name or password"),
        ("WEBHOOK_SECRET", "short", "REFRESHD_WEBHOOK_SECRET"),
        ("WEBHOOK_SECRET", "", "REFRESHD_WEBHOOK_SECRET"),
        ("WEBHOOK_TYPES", "refreshed", "'refreshed' is none of"),
        ("EXPIRING_DAYS", "soon", "numbers of days"),
    ],
)
def test_a_wrong_setting_is_named(
    run: Run, monkeypatch: pytest.MonkeyPatch, name: str, value: str, words: str
) -> None:
    monkeypatch.setenv(f"REFRESHD_{name}", value)
    code, _, err = run("test")
    assert code == 2
    assert words in err
