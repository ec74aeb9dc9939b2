"""Log lines: where they go."""

from __future__ import annotations

import asyncio
import io
import json
import sys

import pytest

from worker.log import configure_logging, log
from worker.log.sentence import Sentence


def test_a_line_goes_to_the_stream_that_is_stderr_now(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = io.StringIO()
    monkeypatch.setattr(sys, "stderr", closed)
    configure_logging()
    closed.close()

    now = io.StringIO()
    monkeypatch.setattr(sys, "stderr", now)
    log.warning("still_here")

    assert "still_here" in now.getvalue()


class Writes(io.StringIO):
    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def write(self, text: str) -> int:
        self.count += 1
        return super().write(text)


def test_lines_of_one_turn_of_an_event_loop_are_one_write(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Writes()
    monkeypatch.setattr(sys, "stderr", stream)
    configure_logging()

    async def say(*names: str) -> None:
        for name in names:
            log.info(name)
        await asyncio.sleep(0)
        assert names[-1] in stream.getvalue()
        log.info("last_words")

    asyncio.run(say("one", "two"))
    asyncio.run(say("three"))
    log.info("four")

    said = [json.loads(line)["event"] for line in stream.getvalue().splitlines()]
    assert said == ["one", "two", "last_words", "three", "last_words", "four"]
    assert stream.count == 5


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (
            {
                "event": "attempt",
                "account": "acme-28",
                "provider": "acme",
                "outcome": "refreshed",
                "reason": "refreshed",
                "generation": 5,
                "http_status": 200,
                "error": None,
                "latency_ms": 210.4,
                "next_refresh_at": 1795641981.5,
                "task_id": "t-1",
                "level": "info",
                "timestamp": "2026-11-25T21:26:08.356049Z",
            },
            "21:26:08 Refreshed acme-28 (acme): generation 5, 210 ms, next at 21:26:21  task_id=t-1",
        ),
        (
            {"event": "attempt", "account": "a", "outcome": "retry", "reason": "server_error", "http_status": 503},
            " Retry a: server error, HTTP 503",
        ),
        (
            {"event": "not_planned", "level": "error", "error": "Redis does not answer", "tries": 2},
            " error Not planned: Redis does not answer  tries=2",
        ),
        ({"event": "plan", "planned": 3, "messages": 1}, " Plan  planned=3 messages=1"),
        ({"event": "celery@x ready.", "logger": "celery"}, " Celery@x ready.  logger=celery"),
        ({"event": "odd", "exception": "ValueError: no"}, " Odd\nValueError: no"),
    ],
)  # fmt: skip
def test_on_a_terminal_a_line_is_a_sentence_with_the_names_behind(
    event: dict[str, object], line: str
) -> None:
    assert Sentence(colours=False)(None, "info", event) == line


def test_a_terminal_shows_json_where_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr(sys, "stderr", words := Terminal())
    configure_logging()
    log.warning("client_refused", account="a")
    assert words.getvalue()[8:] == " warning Client refused a\n"

    monkeypatch.setenv("REFRESHD_LOG", "json")
    monkeypatch.setattr(sys, "stderr", objects := Terminal())
    configure_logging()
    log.warning("client_refused", account="a")
    assert json.loads(objects.getvalue())["event"] == "client_refused"
