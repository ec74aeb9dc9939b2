"""`refreshd up`: all of refreshd on this machine, on your own accounts, until Ctrl-C."""

from __future__ import annotations

import shlex
import time
from contextlib import suppress
from enum import StrEnum
from typing import Annotated, Final

import typer
from msgspec.structs import replace
from redis.exceptions import RedisError
from rich.live import Live
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from models.event import EventType
from models.tables.account import Status
from worker.cli.terminal.console import accounts_words, out
from worker.cli.terminal.process_messages import say
from worker.cli.terminal.signals import Interrupts
from worker.cli.terminal.startup import LOOK_S, Opening, close, title
from worker.db.fleet.counts import Fleet
from worker.durations import duration
from worker.errors import Unreachable
from worker.local.demo.workspace import Workspace
from worker.local.stack import Stack, Step, Task
from worker.redis.event_stream import EventFeed, SeenEvent
from worker.settings import load_settings

#: How often the fleet is looked at.
FLEET_LOOK_S: Final = 2.0

_STYLES: Final = {
    EventType.RECOVERED: "green",
    EventType.EXPIRING: "yellow",
    EventType.DEGRADED: "yellow",
    EventType.REAUTHORIZE: "red",
    EventType.MISCONFIGURED: "red",
}


class LogLevel(StrEnum):
    """How much the logs say."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


def up(
    workers: Annotated[
        int, typer.Option("--workers", help="Worker processes; one uses one core.", min=1, max=64)
    ] = 1,
    flower: Annotated[bool, typer.Option("--flower/--no-flower", help="Start Flower's web pages.")] = True,
    api: Annotated[bool, typer.Option("--api/--no-api", help="Start the run-time API.")] = True,
    log_level: Annotated[LogLevel, typer.Option("--log-level", help="Of the logs.")] = LogLevel.INFO,
) -> None:
    """Starts Redis, the database, workers, beat, the API and Flower.

    Redis is an embedded one unless REFRESHD_REDIS_URL is set, the database SQLite unless REFRESHD_DATABASE_URL is
    set. Processes that end are restarted; their logs are in the data folder. Ctrl-C finishes and stores refreshes
    under way, then stops everything; a second Ctrl-C does not wait.
    """
    settings = load_settings()
    Workspace(settings.data_dir.absolute()).refuse_own_accounts()
    with Interrupts() as interrupts, Stack(settings, log_level=log_level.upper()) as stack:
        interrupts.hurry = stack.supervisor.hurry
        title(out, "refreshd", stack)
        opening = Opening(out, stack, interrupts)
        if opening.run(_tasks(stack, workers, flower=flower, api=api)):
            opening.wait_until_it_works()
        if interrupts.asked is None:
            _show_what_is_there(stack)
            _watch(stack, interrupts)
        close(out, stack)
        out.print(Text(f"Stopped. Everything is kept in {stack.data_dir}."))
        raise typer.Exit(interrupts.exit_code)


def _tasks(stack: Stack, workers: int, *, flower: bool, api: bool) -> list[Task]:
    tasks: list[Task] = [
        ("Starting Redis", stack.start_redis),
        ("Reading the keys", stack.find_keys),
        ("Preparing the database", stack.migrate),
        ("Starting workers", lambda: stack.start_workers(workers)),
    ]
    if api:
        tasks.append(("Starting the API", stack.start_api))

    def start_flower() -> Step:
        step = stack.start_flower()
        # A terminal is seen by one person; a log file is read by many.
        return replace(step, detail=f"{step.detail}   {stack.login(reveal=out.is_terminal)}")

    return [*tasks, ("Starting Flower", start_flower)] if flower else tasks


def _show_what_is_there(stack: Stack) -> None:
    fleet = stack.fleet()
    out.print("\nIn another terminal:\n")
    for line in shell_lines(stack):
        out.print(Text(f"  {line}", style="cyan"), soft_wrap=True)
    out.print()
    if not fleet.accounts:
        out.print("No accounts yet. Then:\n")
        hints = {
            "refreshd accounts import FILE": "many: JSON Lines, YAML or CSV",
            "refreshd accounts add": "one",
            "refreshd status --watch": "see them being refreshed",
        }
        table = Table(box=None, padding=(0, 3, 0, 0), show_header=False)
        for command, words in hints.items():
            table.add_row(
                Text(command, style="cyan", no_wrap=True, overflow="fold"), Text(words, style="dim")
            )
        out.print(Padding(table, (0, 0, 0, 2)))
        out.print()
    if stack.api is not None:
        out.print("The API (docs/api.md):\n")
        out.print(Text(f"  {stack.api_curl()}\n", style="cyan"), soft_wrap=True)
    out.print("Ctrl-C stops everything.\n")


def shell_lines(stack: Stack) -> list[str]:
    """Return what a shell needs so that commands and connectors find this stack; no password is in it."""
    lines = [f"export REFRESHD_DATA_DIR={shlex.quote(str(stack.data_dir))}"]
    if stack.embedded is not None:
        url_file = shlex.quote(str(stack.embedded.url_file))
        lines.append(f'export REFRESHD_REDIS_URL="$(cat {url_file})"')
    return lines


def _watch(stack: Stack, interrupts: Interrupts) -> None:
    """Print events as they happen, and on a terminal the state of the fleet, until Ctrl-C."""
    feed = EventFeed(stack.stores.redis, stack.stores.keys)
    with suppress(RedisError, OSError):
        feed.skip_old()
    with Live(console=out, refresh_per_second=2, transient=True) as live:
        look_again_at = 0.0
        while not interrupts.wait(LOOK_S):
            for change in stack.supervisor.look():
                out.print(say(change, stack.logs))
            with suppress(RedisError, OSError):
                for event in feed.new():
                    if event.kind in _STYLES:
                        out.print(_in_words(event))
            if out.is_terminal and time.monotonic() >= look_again_at:
                look_again_at = time.monotonic() + FLEET_LOOK_S
                live.update(_standing(stack))


def _in_words(event: SeenEvent) -> Text:
    return Text.assemble(
        event.about, " ", (event.kind, _STYLES[EventType(event.kind)]), f" {event.reason.replace('_', ' ')}"
    )


def _standing(stack: Stack) -> Text:
    try:
        fleet = stack.fleet()
    except Unreachable as error:
        return Text(str(error), style="red")
    return standing(fleet)


def standing(fleet: Fleet) -> Text:
    """Return the state of the fleet in one line."""
    counts = {status: sum(n for (_, one), n in fleet.by_status.items() if one == status) for status in Status}
    parts = [accounts_words(fleet.accounts)]
    parts += [f"{number:,} {status}" for status, number in counts.items() if number]
    parts.append(
        f"last minute {fleet.refreshed_last_minute:,} refreshed, {fleet.failed_last_minute:,} failed"
    )
    if fleet.overdue and fleet.oldest_due_at is not None:
        parts.append(f"{fleet.overdue:,} overdue, by {duration(fleet.now - fleet.oldest_due_at)}")
    return Text(" · ".join(parts), style="dim", no_wrap=True, overflow="ellipsis")
