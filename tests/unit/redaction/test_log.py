"""The second net of log lines: what is named or looks like a secret is masked, whoever writes the line."""

from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog

from models.token import Secret
from worker.log import configure_logging, correlate, log, log_celery
from worker.redaction.log import MASK, masked, redacted

JWT = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiIxMjMifQ.c2lnbmF0dXJlLXBhcnQ"

MASKED = [
    ("refresh_token=1//0gAbCdEf-secret", "1//0gAbCdEf"),
    ("POST grant_type=refresh_token&refresh_token=tiny&client_secret=s3cr3t&scope=a", "s3cr3t"),
    ("{'access_token': 'opaque words', 'expires_in': 3600}", "opaque words"),
    ('{"client_secret": "opaque", "x": 1}', "opaque"),
    (r"{\"refresh_token\": \"opaque\", \"x\": 1}", "opaque"),
    ("got access_token: opaque-words", "opaque-words"),
    ("Authorization: Bearer old-access", "old-access"),
    ("authorization: Basic Y2xpZW50OnNlY3JldA==", "Y2xpZW50"),
    ("Cannot connect to redis://worker:pass-word@redis:6379/0", "pass-word"),
    ("postgresql://refreshd:p%40ss@db/refreshd is away", "p%40ss"),
    (f"token {JWT} was refused", "eyJhbG"),
    ("the key whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "MfKQ9r8"),
    ("gho_16C7e42F292c6912E7710c838347Ae178B4a is over", "16C7e42F"),
    ("got 7hG9sKq2LmZx81PvBnRtYwQe45CdUfAj from it", "7hG9sKq2"),
    ("-----BEGIN PRIVATE KEY-----\nMIIEvQ\n-----END PRIVATE KEY-----", "MIIEvQ"),
]
KEPT = [
    "the refresh token was rotated by somebody else",
    "no token: expired yesterday",
    "Basic authentication is wanted",
    "token_type=bearer token_url=https://provider.example/token?x=1",
    "task 3f2b8a52-7a7e-4c61-9f0e-0d8f0f3c1b52 of 01a2146d4ba606b5abfbac6b",
    "/opt/refreshd/lib/python3.11/site-packages/Worker_with_a_long_name_2/module.py",
    "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
]


@pytest.mark.parametrize(("text", "secret"), MASKED)
def test_what_looks_like_a_secret_is_masked(text: str, secret: str) -> None:
    shown = masked(text)
    assert secret not in shown
    assert MASK in shown
    assert masked(shown) == shown


@pytest.mark.parametrize("text", KEPT)
def test_words_and_identifiers_stay(text: str) -> None:
    assert masked(text) == text


@pytest.mark.parametrize(
    "name",
    [
        "access_token",
        "REFRESH_TOKEN",
        "client-secret",
        "authorization",
        "db_password",
        "private_key",
        "dpop_key",
    ],
)
def test_what_is_named_like_a_secret_is_masked(name: str) -> None:
    assert redacted(name, "opaque") == MASK
    assert redacted("outer", {name: ["opaque"]}) == {name: MASK}


@pytest.mark.parametrize("name", ["token_type", "token_url", "refresh_fp", "generation", "reason"])
def test_what_is_named_alike_and_is_none_stays(name: str) -> None:
    assert redacted(name, "opaque") == "opaque"


def test_an_account_s_id_is_shown_however_it_looks() -> None:
    assert redacted("account", "7hG9sKq2LmZx81PvBnRtYwQe45CdUfAj") == "7hG9sKq2LmZx81PvBnRtYwQe45CdUfAj"


class Odd:
    def __str__(self) -> str:
        return "refresh_token=opaque-1"


def test_it_looks_into_what_is_nested_and_into_objects() -> None:
    shown = redacted(
        "answer", {"list": [{"secret": "a"}, "client_secret=b1"], "odd": Odd(), "held": Secret("c")}
    )
    assert shown == {
        "list": [{"secret": MASK}, f"client_secret={MASK}"],
        "odd": f"refresh_token={MASK}",
        "held": MASK,
    }


Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def lines(capsys: pytest.CaptureFixture[str]) -> Iterator[Lines]:
    """Log as a worker does; returns the lines."""
    root = logging.getLogger()
    before = (root.handlers, root.level)
    configure_logging()
    log_celery(logging.INFO)
    yield lambda: [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    root.handlers, root.level = before
    structlog.reset_defaults()


def refused(planted: str) -> None:
    raise ValueError(f"refused: {planted}")


def test_exceptions_and_records_of_libraries_go_through_the_net(lines: Lines) -> None:
    try:
        refused("refresh_token=planted-1 Bearer planted-2")
    except ValueError:
        log.exception("odd", body={"access_token": "planted-3"})
        logging.getLogger("celery.app.trace").exception("task failed: %s", "client_secret=planted-4")
    logging.getLogger("kombu").warning("lost amqp://me:planted-5@host", extra={"password": "planted-6"})

    ours, celerys, kombus = lines()
    assert "planted-" not in json.dumps([ours, celerys, kombus])
    assert (ours["event"], ours["level"]) == ("odd", "error")
    assert "ValueError: refused" in ours["exception"]
    assert "ValueError: refused" in celerys["exception"]
    assert (kombus["logger"], kombus["level"]) == ("kombu", "warning")


def test_on_a_terminal_a_traceback_shows_no_local_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    configure_logging()
    try:
        refused("nothing")
    except ValueError:
        log.exception("odd", refresh_token="opaque-1")
    structlog.reset_defaults()

    assert "ValueError: refused" in terminal.getvalue()
    assert "planted =" not in terminal.getvalue()
    assert "opaque-1" not in terminal.getvalue()


def test_lines_carry_the_task_and_its_plan_until_it_ends(lines: Lines) -> None:
    correlate(task_id="task-1", plan_id="plan-1")
    log.info("one")
    correlate(task_id="plan-2", plan_id=None)
    log.info("two")
    correlate()
    log.info("three")

    assert [(line.get("task_id"), line.get("plan_id")) for line in lines()] == [
        ("task-1", "plan-1"),
        ("plan-2", None),
        (None, None),
    ]
