"""A command imports what it needs and no more, and is listed without being imported."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from structlog.testing import capture_logs
from typer.main import get_command
from typer.testing import CliRunner

from tests.support.fleet import ROOT
from worker.cli import app
from worker.cli.commands import COMMANDS
from worker.cli.terminal.lazy import LazyCommand
from worker.log import log

#: What takes long to import.
HEAVY: Final = frozenset(
    {
        *("aiohttp", "alembic", "celery", "cryptography", "httpx", "joserfc", "kombu", "prometheus_client"),
        *("psycopg", "pydantic", "redis", "sqlalchemy", "sqlmodel", "structlog", "uvloop", "yaml"),
        # The ORM, and drivers of the database that is not used.
        *("sqlalchemy.orm", "sqlalchemy.dialects.postgresql"),
    }
)
#: Runs commands, a stage after the other, and says after each what is loaded.
RUN: Final = """
import contextlib, io, json, sys
from worker.cli import main
for stage in json.loads(sys.argv[1]):
    for words in stage:
        sys.argv = ["refreshd", *words]
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            with contextlib.suppress(SystemExit):
                main()
    loaded = {name for name, module in sys.modules.items() if module is not None}
    print(json.dumps(sorted(loaded | {name.partition(".")[0] for name in loaded})))
"""
#: Commands, and what they may load beside what those above them do.
STAGES: Final = (
    ("pages", [["--version"], ["--help"], []], set[str]()),
    ("mistakes, which Typer finds by pydantic", [["nonsense"], ["--nope"]], {"pydantic"}),
    (
        "what is made here, and pages of groups",
        [["keys", "generate"], ["webhooks", "secret"], ["accounts", "--help"], ["accounts", "lst"]],
        {"cryptography", "structlog"},
    ),
    (
        "what only reads",
        [["token", "--help"], ["history", "--help"], ["accounts", "list", "--help"], ["accounts", "show"]],
        {"redis", "sqlalchemy", "yaml"},
    ),
)


@pytest.mark.e2e
def test_a_command_loads_what_it_needs_and_no_more() -> None:
    commands = json.dumps([stage for _, stage, _ in STAGES])
    said = subprocess.run(
        [sys.executable, "-c", RUN, commands], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    allowed: set[str] = set()
    for (name, _, more), loaded in zip(STAGES, said, strict=True):
        allowed |= more
        assert HEAVY.intersection(json.loads(loaded)) - allowed == set(), name


#: Commands about one account, and what each may load beside what those above it do. None loads the ORM.
ABOUT_AN_ACCOUNT: Final = (
    (["token", "acct"], {"cryptography", "pydantic", "sqlalchemy"}),
    (["accounts", "show", "acct"], set[str]()),
    (["explain", "acct"], {"redis", "yaml"}),
    # It looks a URL over as the HTTP client will.
    (
        ["accounts", "add", "other", "provider=none", "token_url=https://x.example/t", "refresh_token=r"],
        {"httpx"},
    ),
)
#: Too long to load for what these ask.
FOREIGN: Final = HEAVY | {
    "amqp",
    "attr",
    "fastapi",
    "jinja2",
    "opentelemetry",
    "psutil",
    "pygments",
    "uvicorn",
}


@pytest.mark.e2e
def test_a_command_about_one_account_loads_no_more_than_it_uses(tmp_path: Path) -> None:
    environment = {"REFRESHD_REDIS_URL": "redis://127.0.0.1:1/0", "REFRESHD_DATA_DIR": str(tmp_path)}
    fields = ["provider=none", "token_url=https://x.example/t", "access_token=an-access-token"]
    run(["db", "upgrade"], ["accounts", "add", "acct", *fields], environment=environment)
    loaded = run(*(words for words, _ in ABOUT_AN_ACCOUNT), environment=environment)
    allowed: set[str] = set()
    for (words, more), names in zip(ABOUT_AN_ACCOUNT, loaded, strict=True):
        allowed |= more
        assert FOREIGN & names - allowed == set(), words


def run(*commands: list[str], environment: dict[str, str]) -> list[set[str]]:
    """Run commands in one process, and return what was loaded after each."""
    stages = json.dumps([[words] for words in commands])
    ran = subprocess.run(
        [sys.executable, "-c", RUN, stages],
        cwd=environment["REFRESHD_DATA_DIR"],
        env={**environment, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    return [set(json.loads(line)) for line in ran.stdout.splitlines()]


#: What beat and Flower do first, as Celery's command line has them do it.
BEGIN: Final = """
import click, json, sys
context = click.Context(click.Command("celery"))
context.invoked_subcommand = sys.argv[1]
with context:
    from worker.app import app
    app.loader.import_default_modules()
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""


@pytest.mark.e2e
@pytest.mark.parametrize(("program", "works"), [("beat", False), ("worker", True)])
def test_only_a_worker_loads_what_a_refresh_needs(program: str, works: bool, tmp_path: Path) -> None:
    environment = {"REFRESHD_REDIS_URL": "redis://127.0.0.1:1/0", "REFRESHD_DATA_DIR": str(tmp_path)}
    loaded = subprocess.run(
        [sys.executable, "-c", BEGIN, program],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    needs = {"httpx", "joserfc", "prometheus_client", "sqlalchemy", "sqlmodel", "tasks", "uvloop"}
    assert needs.intersection(json.loads(loaded)) == (needs if works else set())


def test_a_command_that_is_loaded_already_keeps_nothing_more_from_collections() -> None:
    CliRunner().invoke(app, ["history", "--help"])
    before = gc.get_freeze_count()
    CliRunner().invoke(app, ["history", "--help"])
    assert gc.get_freeze_count() <= before


def lazy_commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], LazyCommand]]:
    for name, command in group.commands.items():
        if isinstance(command, LazyCommand):
            yield (*path, name), command
            loaded = command.load()
            if hasattr(loaded, "commands"):
                yield from lazy_commands(loaded, (*path, name))


def test_every_command_of_the_table_loads_under_its_name_with_its_summary_first() -> None:
    found = dict(lazy_commands(get_command(app)))
    assert len(found) == sum(map(len, COMMANDS.values()))
    for path, lazy in found.items():
        loaded = lazy.load()
        assert loaded.name == path[-1]
        assert loaded.help.partition("\n\n")[0] == lazy.help
        assert "\n" not in loaded.help.replace("\n\n", ""), "lines are the terminal's to break"


def test_no_page_shows_a_type_beside_an_option_that_takes_no_value() -> None:
    for words in ([], ["up"], ["accounts"], ["accounts", "add"], ["db", "restored"], ["providers", "list"]):
        assert "<bool>" not in CliRunner().invoke(app, [*words, "--help"]).output


def test_lines_of_a_command_in_a_loaded_group_are_the_terminals_to_break() -> None:
    page = CliRunner().invoke(app, ["db", "restored", "--help"], env={"COLUMNS": "110"}).output
    assert "the other generations above" in page
    assert "published. Safe to run again." in page


def test_a_mistyped_command_is_told_the_nearest_one_in_groups_too() -> None:
    for words, near in ((["stauts"], "'status'"), (["accounts", "lst"], "'list'")):
        ran = CliRunner().invoke(app, words)
        assert ran.exit_code == 2
        assert f"Did you mean {near}" in ran.output


def test_a_command_that_has_ended_configures_no_log_of_its_process() -> None:
    assert CliRunner().invoke(app, ["keys", "generate"]).exit_code == 0
    with capture_logs() as lines:
        log.warning("something_else")
    assert [line["event"] for line in lines] == ["something_else"]
