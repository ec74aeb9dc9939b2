"""The runbook has an entry for each alert and each reason that can be given, and its commands are real ones."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import typer.main

from models.providers.presets import load_providers
from models.rate_limit import WaitReason
from tests.unit.monitoring.test_monitoring import ROOT, RUNBOOK, alerts
from worker.cli import app
from worker.cli.terminal.lazy import LazyCommand
from worker.policy.verdicts.messages import _OWN, words_of
from worker.policy.verdicts.table import TABLE

#: Where reasons are made: what decides, and the path of a refresh.
SOURCES: Final = (
    "worker/policy",
    "worker/refresh/refresher.py",
    "worker/refresh/requests.py",
    "worker/refresh/outcome.py",
    "worker/refresh/admission.py",
    "worker/scheduling/planner.py",
    "worker/refresh/committer.py",
    "models/attempt.py",
    "models/pause.py",
)
#: Constants of the same form that are no reasons: names of duties, causes of a diagnosis, places in an answer.
NO_REASONS: Final = {"plan", "refreshd", "webhooks", "error", "error_description"}
#: Words that a judgement brings beside the table.
BESIDE: Final = {"refreshed"}
ROW: Final = re.compile(r"^\| `([a-z_]+)` \| (.+) \| (.+) \| (.+) \|$", re.MULTILINE)
WORD: Final = re.compile(r"[a-z]+(_[a-z]+)*")
COMMAND: Final = re.compile(r"`(refreshd [^`]+)`|^(refreshd [^#\n]+)", re.MULTILINE)


def files() -> Iterator[Path]:
    for source in SOURCES:
        path = ROOT / source
        yield from sorted(path.rglob("*.py")) if path.is_dir() else [path]


def constants() -> dict[str, str]:
    """Return module-level constants that hold one word, and where they stand."""
    found: dict[str, str] = {}
    for file in files():
        for node in ast.parse(file.read_text()).body:
            value = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
            if (
                isinstance(value, ast.Constant)
                and isinstance(value.value, str)
                and WORD.fullmatch(value.value)
            ):
                found.setdefault(value.value, str(file.relative_to(ROOT)))
    return found


def reasons() -> dict[str, str]:
    """Return every reason that can be given, and where it comes from."""
    found = {word: where for word, where in constants().items() if word not in NO_REASONS}
    found |= dict.fromkeys(BESIDE, "worker/policy/verdicts/verdict.py")
    found |= {row.reason: "worker/policy/verdicts/table.py" for row in TABLE}
    found |= {str(word): "worker/policy/verdicts/messages.py" for word in _OWN}
    found |= {reason.value: "models/rate_limit.py" for reason in WaitReason}
    for provider in load_providers(None).values():
        found |= {rule.reason: f"preset {provider.name}" for rule in provider.error_rules}
    return found


def test_every_reason_has_an_entry() -> None:
    entries = {row[0] for row in ROW.findall(RUNBOOK)}
    assert {word: where for word, where in reasons().items() if word not in entries} == {}


def test_every_reason_of_an_outcome_can_be_said_in_words() -> None:
    """Reasons of a plan, and of a due time, are explained where they are shown."""
    elsewhere = ("worker/scheduling/planner.py", "worker/policy/due.py")
    bare = [
        word for word, where in reasons().items() if where not in elsewhere and words_of(word) == f"{word}."
    ]
    assert bare == []


def test_every_entry_is_a_reason_and_stands_once() -> None:
    entries = [row[0] for row in ROW.findall(RUNBOOK)]
    assert sorted(set(entries) - reasons().keys()) == []
    assert len(entries) == len(set(entries))


def test_every_entry_says_what_users_notice_and_what_to_do() -> None:
    assert [row for row in ROW.findall(RUNBOOK) if not all(cell.strip() for cell in row)] == []


def test_every_alert_says_what_it_means_what_users_notice_and_what_to_do() -> None:
    for name in alerts():
        entry = RUNBOOK.partition(f"\n### {name}\n")[2].partition("\n#")[0]
        parts = re.findall(r"^- \*\*([\w ]+)\*\*: ", entry, re.MULTILINE)
        assert parts == ["Means", "Users notice", "Do"], name


def test_no_alert_is_told_that_is_none() -> None:
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
