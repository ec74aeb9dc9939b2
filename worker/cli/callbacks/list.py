"""`refreshd callbacks list`: which there are, who knows them, who uses them, and how the last run of each ended."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final

import typer
from msgspec import Struct
from msgspec.structs import asdict
from rich.table import Table
from rich.text import Text

from worker.callbacks.catalog import CallbackCatalog, Offered, configured_callbacks
from worker.callbacks.heartbeats import CallbackHeartbeats
from worker.callbacks.host.environment import environment_of_callbacks
from worker.callbacks.host.sandbox import describe
from worker.callbacks.usage import (
    NO_CATALOG,
    LastRun,
    Use,
    lacking,
    last_run,
    lines_of,
    uses,
)
from worker.cli.terminal.console import ago_or_in, err, out, print_json
from worker.cli.terminal.context import open_stores
from worker.context import AppContext
from worker.redis.client import in_words

#: Stands for this machine where no callback worker runs.
NOT_RUNNING: Final = "(no worker runs; this machine would know it)"
#: A file and its line stay in one piece on a narrow terminal; addresses may be folded.
WHERE_MIN: Final = 20
_AsJson = Annotated[bool, typer.Option("--json", help="Print JSON Lines.")]


class Line(Struct, frozen=True):
    """One callback: who knows it, who uses it, and its last run."""

    name: str
    offered: Offered | None
    workers: Sequence[str]
    use: Use | None
    last: LastRun | None

    def to_json(self) -> dict[str, Any]:
        return {
            "callback": self.name,
            "kind": self.offered.kind if self.offered else None,
            "where": self.offered.where if self.offered else None,
            "timeout_s": self.offered.timeout_s if self.offered else None,
            "workers": list(self.workers),
            "accounts": self.use.accounts if self.use else 0,
            "example": self.use.example if self.use else None,
            "last_run": asdict(self.last) if self.last else None,
        }


def list_command(as_json: _AsJson = False) -> None:
    """Exits with 1 if an account names an unknown callback, or a module can't be used."""
    with open_stores() as here:
        told = offered_by_workers(here)
        offers = told or {NOT_RUNNING: _offered_here(here)}
        used = uses(here.engine)
        lines = _lines(here, offers, used)
        if as_json:
            for line in lines:
                print_json(line.to_json())
        else:
            out.print(_table(lines, now=here.clock.now(), told=bool(told)))
        missing = lacking(used, told)
        for words in lines_of(missing) or ([] if told else [NO_CATALOG]):
            err.plain(words, style="red")
        problems = {
            (where, why): worker for worker, offer in offers.items() for where, why in offer.problems.items()
        }
        for (where, why), worker in problems.items():
            err.plain(f"{worker}: {where}: {why}", style="red")
        if missing or problems:
            raise typer.Exit(1)


def offered_by_workers(here: AppContext) -> dict[str, CallbackCatalog]:
    """Return what the running callback workers offer.

    Raises:
        RedisUnreachable: the workers' catalogs can't be read.
    """
    with in_words(here.settings.redis):
        return CallbackHeartbeats(here.redis, here.settings.redis_prefix).offers()


def _offered_here(here: AppContext) -> CallbackCatalog:
    configured = configured_callbacks(here.settings)
    environment = environment_of_callbacks(
        here.settings, [text for one in configured.values() for text in one.secrets]
    )
    return CallbackCatalog.of(configured, asyncio.run(describe(here.settings.callback_modules, environment)))


def _lines(here: AppContext, offers: Mapping[str, CallbackCatalog], used: Sequence[Use]) -> list[Line]:
    using = {use.name: use for use in used}
    known: dict[str, Offered] = {}
    workers: dict[str, list[str]] = {}
    for worker, offer in offers.items():
        for name, offered in offer.callbacks.items():
            known.setdefault(name, offered)
            workers.setdefault(name, []).append(worker)
    return [
        Line(
            name,
            known.get(name),
            workers.get(name, []),
            using.get(name),
            last_run(here.engine, name) if name in using else None,
        )
        for name in sorted({*known, *using})
    ]


def _table(lines: Sequence[Line], *, now: float, told: bool) -> Table | Text:
    if not lines:
        registered = "No callback is registered, and no" if told else "No"
        return Text(f"{registered} account names one. `refreshd callbacks new NAME` writes one.")
    table = Table("callback", "kind", box=None, padding=(0, 2, 0, 0), header_style="bold")
    longest = max((len(_short(line.offered.where)) for line in lines if line.offered), default=0)
    table.add_column("where", min_width=min(longest, WHERE_MIN))
    table.add_column("workers")
    table.add_column("accounts", justify="right")
    table.add_column("last run")
    for line in lines:
        offered, last = line.offered, line.last
        table.add_row(
            Text(line.name, style="" if offered else "red"),
            offered.kind if offered else "-",
            Text(_short(offered.where) if offered else "no running worker", overflow="fold"),
            Text(", ".join(line.workers) or "-", overflow="fold"),
            f"{line.use.accounts:,}" if line.use else "0",
            f"{ago_or_in(last.at, now=now)}: {last.outcome}" if last else "never",
        )
    return table


def _short(where: str) -> str:
    """Return a file by its name; an address or a task as it is."""
    return where.rpartition("/")[2] if where.startswith("/") else where
