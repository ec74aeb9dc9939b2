"""Log lines: where they go."""

from __future__ import annotations

import asyncio
import io
import json
import sys

import pytest

from worker.log import configure_logging, log


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
