"""Waiting for a database at start-up: bounded, and with a line for each new cause."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import structlog
from structlog.testing import capture_logs

from worker.db.waiting import once_reachable
from worker.errors import DatabaseUnreachable, SchemaOutdated
from worker.log import configure_logging


@pytest.fixture(autouse=True)
def log_of_a_worker() -> Iterator[None]:
    """Another test of this process may have configured that of a short command, which tells warnings alone."""
    configure_logging("INFO")
    yield
    structlog.reset_defaults()


def test_each_new_cause_is_one_line_and_so_is_the_end_of_the_wait() -> None:
    causes = iter(["refused", "refused", "starting up", ""])

    def open_database() -> str:
        if cause := next(causes):
            raise DatabaseUnreachable(cause)
        return "opened"

    with capture_logs() as lines:
        assert once_reachable(open_database, pause_s=0) == "opened"

    assert [(one["event"], one.get("error")) for one in lines] == [
        ("database_awaited", "refused"),
        ("database_awaited", "starting up"),
        ("database_reached", None),
    ]


def test_a_database_that_answers_at_once_is_no_line() -> None:
    with capture_logs() as lines:
        once_reachable(lambda: None)
    assert lines == []


@pytest.mark.parametrize("error", [DatabaseUnreachable("away"), SchemaOutdated("old")])
def test_a_wait_that_is_over_and_what_no_waiting_mends_are_raised(error: Exception) -> None:
    def open_database() -> None:
        raise error

    with pytest.raises(type(error), match=str(error)):
        once_reachable(open_database, wait_s=0)
