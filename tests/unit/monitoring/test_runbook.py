"""The runbook has an entry for each alert and each reason that can be given, and its commands are real ones."""

from __future__ import annotations

import re
import shlex
from typing import Any, Final

import pytest
import typer.main

from docs.generate.runbook import page
from tests.unit.monitoring.test_monitoring import RUNBOOK, alerts
from worker.cli import app
from worker.cli.terminal.lazy import LazyCommand

COMMAND: Final = re.compile(r"`(refreshd [^`]+)`|^(refreshd [^#\n]+)", re.MULTILINE)


def test_the_tables_of_reasons_are_up_to_date() -> None:
    """Run `python -m docs.generate.runbook` where this fails."""
    assert page(RUNBOOK) == RUNBOOK


def test_every_alert_says_what_it_means_what_users_notice_and_what_to_do() -> None:
    for name in alerts():
        entry = RUNBOOK.partition(f"\n### {name}\n")[2].partition("\n#")[0]
        parts = re.findall(r"^- \*\*([\w ]+)\*\*: ", entry, re.MULTILINE)
        assert parts == ["Means", "Users notice", "Do"], name


def test_the_runbook_names_no_alert_that_does_not_exist() -> None:
    assert set(re.findall(r"^### (Refreshd\w+)$", RUNBOOK, re.MULTILINE)) == alerts().keys()


def test_links_within_the_runbook_lead_somewhere() -> None:
    headings = re.findall(r"^#+ (.+)$", RUNBOOK, re.MULTILINE)
    anchors = {heading.lower().replace(" ", "-").replace(",", "").replace(":", "") for heading in headings}
    assert set(re.findall(r"\]\(#([\w-]+)\)", RUNBOOK)) <= anchors


@pytest.mark.parametrize("line", sorted({one or other for one, other in COMMAND.findall(RUNBOOK)}))
def test_its_commands_are_real(line: str) -> None:
    command: Any = typer.main.get_command(app)
    words = shlex.split(line)[1:]
    while words and (known := getattr(command, "commands", None)):
        assert words[0] in known, line
        command = known[words.pop(0)]
        command = command.load() if isinstance(command, LazyCommand) else command
    options = {option for parameter in command.params for option in parameter.opts}
    assert {word.partition("=")[0] for word in words if word.startswith("--")} <= options
