"""`refreshd keys list`, `intake`, `rotate` and `check`: what each key has sealed, and what is sealed to it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Annotated

import typer
from redis.exceptions import RedisError
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from models.tables.audit import Act, Action
from worker.celery.inspect import worker_keys
from worker.cli.terminal.console import err, out, print_json
from worker.cli.terminal.context import open_stores
from worker.context import AppContext
from worker.db.repair.rekey import Pass, Unreadable, accounts, check, rotate, sealed_with
from worker.durations import duration
from worker.errors import SettingsError, UsageError
from worker.redis.clock_offsets import ClockOffsets, is_beat
from worker.redis.pending_answers import waiting_by_key

#: Unreadable values are named up to this many.
_NAMED_MAX = 20

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def list_keys(as_json: Json = False) -> None:
    with open_stores() as here:
        used = sealed_with(here.engine)
        known = here.cipher.key_ids
        rows = [
            {
                "key": key,
                "configured": key in known,
                "writes": key == here.cipher.writing_key,
                "values": used.get(key, 0),
            }
            for key in [*known, *(key for key in used if key not in known)]
        ]
        for row in rows:
            if as_json:
                print_json(row)
            else:
                note = (
                    "writes"
                    if row["writes"]
                    else ""
                    if row["configured"]
                    else "NOT CONFIGURED: add it to REFRESHD_KEYS"
                )
                out.plain(f"{row['key']:<32}  {row['values']:>12,} values  {note}".rstrip())


def intake_key() -> None:
    """It is no secret. After a rotation print it again: values sealed to the old key open as long as that key is kept."""
    with open_stores() as here:
        out.plain(here.cipher.intake_key)


def rotate_keys(
    as_json: Json = False,
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            help="Rotate although a worker lacks the first key, or could not be asked: accounts that it refreshes are "
            "misconfigured until it has it.",
        ),
    ] = False,
) -> None:
    """Refuses where a running worker lacks the first key: it could open nothing of what is sealed with it."""
    with open_stores() as here:
        if len(here.cipher.key_ids) == 1 and set(sealed_with(here.engine)) - set(here.cipher.key_ids):
            raise UsageError(
                "REFRESHD_KEYS holds only the new key: without the old one nothing opens. Set NEW,OLD, both"
            )
        if not force:
            _require_workers_have(here, here.cipher.writing_key)
        here.audit.record(here.actor, Act(Action.KEYS_ROTATE, detail={"key": here.cipher.writing_key}))
        passes = rotate(here.engine, here.cipher)
        _report(passes, total=accounts(here.engine), verb="sealed anew", as_json=as_json)


def _require_workers_have(here: AppContext, key: str) -> None:
    """Check that every running worker has a key.

    Raises:
        UsageError: one lacks it, does not say, or could not be asked.
    """
    anyway = "`--force` rotates all the same"
    found = worker_keys()
    try:
        running = ClockOffsets(here.broker, here.settings.redis_prefix).all()
    except (RedisError, OSError, SettingsError):
        found = None
    if found is None:
        raise UsageError(
            f"whether the workers have key {key!r} could not be asked: Redis does not answer. Nothing was changed. "
            f"Start it, or correct REFRESHD_REDIS_URL; where no worker runs, {anyway}"
        )
    lacking = [
        f"{name} has {', '.join(sorted(ids))}"
        if ids is not None
        else f"{name} is of a release that does not say"
        for name, ids in found.items()
        if ids is None or key not in ids
    ]
    silent = [f"{name} did not answer" for name in running if name not in found and not is_beat(name)]
    if lacking or silent:
        raise UsageError(
            f"not every running worker is known to have key {key!r}: {'; '.join([*lacking, *silent])}. Nothing was changed: "
            "a worker without the key opens nothing that is sealed with it, and its accounts become misconfigured. "
            f"Put {key!r} into REFRESHD_KEYS of every worker, restart them, and run this again; one that was killed is "
            f"forgotten within a minute; {anyway}"
        )


def check_keys(as_json: Json = False) -> None:
    with open_stores() as here:
        try:
            waiting = waiting_by_key(here.redis, here.keys)
        except (RedisError, OSError, SettingsError) as error:
            waiting = {}
            err.plain(f"answers that wait in Redis were not looked at: {error}", style="yellow")
        for key in waiting:
            if key != here.cipher.writing_key:
                err.plain(
                    f"{waiting[key]:,} answers wait in Redis for the database, sealed with key {key!r}: it is needed until "
                    "workers have stored them",
                    style="yellow",
                )
        _report(check(here.engine, here.cipher), total=accounts(here.engine), verb="checked", as_json=as_json)


def _report(passes: Iterator[Pass], *, total: int, verb: str, as_json: bool) -> None:
    began = time.monotonic()
    looked_at = resealed = 0
    bad: list[Unreadable] = []
    columns = (TextColumn("accounts"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, disable=not err.is_terminal, transient=True) as progress:
        task = progress.add_task("", total=total)
        try:
            for one in passes:
                looked_at, resealed = looked_at + one.accounts, resealed + one.resealed
                bad += one.unreadable
                progress.update(task, completed=looked_at)
        except KeyboardInterrupt:
            err.print(
                f"stopped after {looked_at:,} of {total:,} accounts: run the same command again to go on"
            )
            raise
    if as_json:
        unreadable = [{"account": one.account, "field": one.field, "reason": one.reason} for one in bad]
        print_json({"accounts": looked_at, "resealed": resealed, "unreadable": unreadable})
    else:
        values = f", {resealed:,} values {verb}" if verb != "checked" else ""
        took = duration(time.monotonic() - began)
        out.print(f"{looked_at:,} accounts looked at{values}, {len(bad):,} values do not open. Took {took}.")
        for value in bad[:_NAMED_MAX]:
            err.plain(f"  {value.reason}")
        if len(bad) > _NAMED_MAX:
            err.print(f"  ... and {len(bad) - _NAMED_MAX:,} more (--json names all)", style="dim")
    if bad:
        raise typer.Exit(1)
