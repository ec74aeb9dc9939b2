"""Log lines: where they go."""

from __future__ import annotations

import io
import sys

import pytest

from worker.events import configure_logging, log


def test_a_line_goes_to_the_stream_that_is_stderr_now(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = io.StringIO()
    monkeypatch.setattr(sys, "stderr", closed)
    configure_logging()
    closed.close()

    now = io.StringIO()
    monkeypatch.setattr(sys, "stderr", now)
    log.warning("still_here")

    assert "still_here" in now.getvalue()
