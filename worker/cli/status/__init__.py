"""`refreshd status`: the fleet on one screen."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from msgspec import Struct
from msgspec.structs import asdict
from redis.exceptions import RedisError
from rich.console import Group as Stack
from rich.console import RenderableType
from rich.live import Live
from rich.text import Text

from models.pause_scope import PauseEntry
from worker.broker.queues import QUEUES, STANDARD_WORKER
from worker.callbacks.heartbeats import CallbackHeartbeats
from worker.callbacks.usage import Lacking, lacking, lines_of, uses
from worker.celery.inspect import alive_workers
from worker.cli.status.charts import charts
from worker.cli.status.labelled import counts_json, labelled_json, labelled_screen
from worker.cli.status.paused import gate_lines, held_json, pause_lines, returning_lines, secret_lines
from worker.cli.status.tables import accounts_table, failing_table
from worker.cli.terminal.console import accounts_words, ago_or_in, err, out, print_json
from worker.cli.terminal.context import open_stores
from worker.cli.terminal.labels import Labels, labels_of
from worker.clock import TOLERATED_SKEW_S
from worker.context import AppContext
from worker.db.fleet.client_secrets import EndingSecret, ending
from worker.db.fleet.counts import Fleet, look
from worker.db.fleet.labelled import look_at
from worker.db.fleet.timeline import Timeline, timeline
from worker.db.outbox import Backlog
from worker.db.publication.comparison import CAUSES, ComparisonStore, Loss
from worker.durations import duration
from worker.errors import RedisUnreachable, SettingsError, Unreachable, UsageError
from worker.monitoring.gate_status import GateStatus, Returning, look_at_gates, look_at_opened_gates
from worker.policy.backlog import PLAN_LATE_S
from worker.redis.client import in_words

_WATCH_S = 2.0
#: A loss of Redis stays on the screen for so long, seconds.
_LOSS_SHOWN_S = 3600.0


def status(
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Refresh every two seconds, until Ctrl-C.")
    ] = False,
    label: Labels = None,
    html: Annotated[
        Path | None,
        typer.Option(
            "--html", metavar="FILE", help="Write one page with plots; with --watch, anew every 30 s."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """With --label: only the accounts that have it, without queues, workers and plots.

    Exits with 4 where Redis can't be used, after what the database knows.
    The page of --html needs no other file, no network and no script: for a wall, or for an incident report.
    """
    labels = labels_of(label)
    if html is not None and (labels or as_json):
        raise UsageError("--html shows the whole fleet to people: leave out --label and --json")
    with open_stores() as here:
        if html is not None:
            _write_page(here, html, watch=watch)
        elif watch and not as_json:
            _follow(here, labels)
        elif labels:  # of the database alone
            counted = look_at(here.engine, labels)
            print_json(labelled_json(counted)) if as_json else out.print(labelled_screen(counted))
        else:
            seen = _look(here)
            print_json(_as_json(seen)) if as_json else out.print(_screen(seen))
            if seen.queues is None:
                raise typer.Exit(Unreachable.exit_code)


def _follow(here: AppContext, labels: Mapping[str, str]) -> NoReturn:
    """Show the screen, anew every two seconds, until Ctrl-C."""
    with Live(console=out, refresh_per_second=4, screen=True) as live:
        while True:
            live.update(labelled_screen(look_at(here.engine, labels)) if labels else _screen(_look(here)))
            time.sleep(_WATCH_S)


def _write_page(here: AppContext, file: Path, *, watch: bool) -> None:
    from worker.cli.status.page import PAGE_EVERY_S, page, write_page

    write_page(file, page(here.engine, look(here.engine), reload=watch))
    err.print(f"Written to {file}", markup=False, soft_wrap=True)
    while watch:
        time.sleep(PAGE_EVERY_S)
        write_page(file, page(here.engine, look(here.engine), reload=watch))


class _Seen(Struct, frozen=True):
    """The fleet in SQL, the queues in Redis and the workers that answer, at one moment."""

    fleet: Fleet
    queues: dict[str, int] | None
    #: The error of Redis; empty if it answers.
    trouble: str
    workers: dict[str, list[str]] | None
    #: Provider, its overdue accounts, and when they are done at its rate (None: it has no rate).
    behind: list[tuple[str, int, float | None]]
    #: Callbacks that accounts name and no running worker knows; None if Redis does not answer.
    missing: list[Lacking] | None
    webhooks: list[Backlog]
    pauses: list[PauseEntry]
    #: Closed gates that hold accounts; None if Redis does not answer.
    gates: list[GateStatus] | None
    #: Gates that have opened, and whose accounts are on their way back.
    returning: list[Returning]
    #: Clients' secrets that end soon, or have ended.
    secrets: list[EndingSecret]
    #: What Redis lacked.
    loss: Loss | None
    #: Of the accounts of the loss that are kept by name, those that Redis lacks still.
    lacking: list[str]
    timeline: Timeline


def _look(here: AppContext) -> _Seen:
    pauses = here.pauses.all()
    comparison = ComparisonStore(here.engine)
    loss = comparison.state().progress.loss
    fleet = look(here.engine)
    queues, trouble = _queues(here)
    behind = []
    for provider, count in fleet.behind:
        rate = here.pace(provider).requests_per_s
        behind.append((provider, count, None if rate is None else fleet.now + count / rate))
    workers = None if queues is None else alive_workers()
    gates = None if queues is None else _gates(here, fleet.now)
    return _Seen(
        fleet=fleet,
        queues=queues,
        trouble=trouble,
        workers=workers,
        behind=behind,
        missing=None if queues is None else _missing(here),
        webhooks=here.outbox.backlog(),
        pauses=pauses,
        gates=None if gates is None else gates[0],
        returning=[] if gates is None else gates[1],
        secrets=ending(here.engine, within_days=max(here.settings.expiring_thresholds_days, default=0.0)),
        loss=loss,
        lacking=comparison.waiting(loss) if loss is not None and fleet.now - loss.at < _LOSS_SHOWN_S else [],
        timeline=timeline(here.engine),
    )


def _gates(here: AppContext, now: float) -> tuple[list[GateStatus], list[Returning]] | None:
    where = (here.engine, here.redis, here.settings.redis_prefix)
    try:
        return look_at_gates(*where, now=now), look_at_opened_gates(*where, now=now)
    except (RedisError, OSError):
        return None


def _missing(here: AppContext) -> list[Lacking] | None:
    try:
        return lacking(uses(here.engine), CallbackHeartbeats(here.redis, here.settings.redis_prefix).offers())
    except (RedisError, OSError):
        return None


def _queues(here: AppContext) -> tuple[dict[str, int] | None, str]:
    try:
        with in_words(here.settings.broker):
            return {name: int(here.broker.llen(name)) for name in QUEUES}, ""
    except (RedisUnreachable, SettingsError) as error:
        return None, str(error)


def _as_json(seen: _Seen) -> dict[str, Any]:
    fleet = seen.fleet
    return {
        **counts_json(fleet.accounts, fleet.by_status, fleet.failing),
        "overdue": fleet.overdue,
        "behind": [
            {"provider": name, "accounts": count, "until": until} for name, count, until in seen.behind
        ],
        "overdue_by_s": None if fleet.oldest_due_at is None else round(fleet.now - fleet.oldest_due_at, 1),
        "soonest_to_expire": [{"account": account, "expires_at": at} for account, at in fleet.soonest],
        "refreshed_last_minute": fleet.refreshed_last_minute,
        "failed_last_minute": fleet.failed_last_minute,
        "latency_ms": None if fleet.latency_ms is None else round(fleet.latency_ms),
        "planned_at": fleet.planned_at,
        "callbacks_missing": None
        if seen.missing is None
        else [
            {"callback": m.use.name, "accounts": m.use.accounts, "example": m.use.example, "reason": m.words}
            for m in seen.missing
        ],
        "client_secrets_ending": [one.as_json() for one in seen.secrets],
        "webhooks": [one.as_json() for one in seen.webhooks],
        "queues": seen.queues,
        "workers": seen.workers,
        "due_next_24h": list(seen.timeline.due),
        "last_hour": [{"refreshed": one.refreshed, "failed": one.failed} for one in seen.timeline.calls],
        "redis_lost": None if seen.loss is None else asdict(seen.loss) | {"lacking": seen.lacking},
    } | held_json(seen.pauses, fleet, seen.gates, seen.returning)


def _screen(seen: _Seen) -> RenderableType:
    fleet = seen.fleet
    if not fleet.accounts:
        return Text.from_markup(
            "No accounts yet. [b]refreshd accounts import FILE[/b] stores many, [b]refreshd accounts add[/b] one."
        )
    parts: list[RenderableType] = [accounts_table(fleet.by_status), Text()]
    if fleet.failing:
        parts += [failing_table(fleet.failing), Text()]
    parts += pause_lines(seen.pauses, fleet)
    parts += gate_lines(seen.gates or (), now=fleet.now)
    parts += returning_lines(seen.returning)
    parts += secret_lines(seen.secrets, now=fleet.now)
    parts += [*_work(seen), *_webhooks(seen), *_machinery(seen), Text()]
    parts.append(charts(seen.timeline, blocks=out.encoding.startswith("utf")))
    return Stack(*parts)


def _work(seen: _Seen) -> list[Text]:
    fleet = seen.fleet
    late = (
        "" if fleet.oldest_due_at is None else f", the oldest by {duration(fleet.now - fleet.oldest_due_at)}"
    )
    latency = "" if fleet.latency_ms is None else f", {fleet.latency_ms:.0f} ms a call"
    lines = [
        Text(f"overdue         {fleet.overdue:,}{late}", style="yellow" if fleet.overdue else ""),
        Text(
            f"last minute     {fleet.refreshed_last_minute:,} refreshed, {fleet.failed_last_minute:,} failed{latency}"
        ),
    ]
    for provider, count, until in seen.behind:
        end = "" if until is None else f", at its rate until about {ago_or_in(until, now=fleet.now)}"
        lines.append(Text(f"  behind        {provider}: {accounts_words(count)}{end}", style="yellow"))
    if fleet.soonest:
        soonest = ", ".join(f"{account} {ago_or_in(at, now=fleet.now)}" for account, at in fleet.soonest[:3])
        lines.append(Text(f"ending soonest  {soonest}"))
    return lines


def _webhooks(seen: _Seen) -> list[Text]:
    """Return the webhooks that do not accept their messages."""
    return [
        Text(
            f"webhook         {one.endpoint}: {one.waiting:,} waiting, {one.dead_lettered:,} dead-lettered"
            + (f"; last: {one.last_error}" if one.last_error else ""),
            style="red" if one.dead_lettered else "yellow",
        )
        for one in seen.webhooks
        if one.dead_lettered or one.last_error
    ]


def _machinery(seen: _Seen) -> list[Text]:
    fleet, queues, workers = seen.fleet, seen.queues, seen.workers
    late = fleet.planned_at is None or not -TOLERATED_SKEW_S < fleet.now - fleet.planned_at < PLAN_LATE_S
    lines = [
        Text(f"last plan       {ago_or_in(fleet.planned_at, now=fleet.now)}", style="red" if late else "")
    ]
    if late:
        lines.append(
            Text(
                "  nothing is planned: `refreshd doctor` shows whether beat or a worker is missing, or a clock is wrong",
                style="red",
            )
        )
    if seen.loss is not None and fleet.now - seen.loss.at < _LOSS_SHOWN_S:
        lines.append(
            Text(
                f"redis lost      {accounts_words(seen.loss.accounts)}, found {ago_or_in(seen.loss.at, now=fleet.now)}: "
                f"{CAUSES[seen.loss.why]}{f'; it lacks {seen.lacking[0]} at this moment' if seen.lacking else ''}",
                style="yellow",
            )
        )
    if queues is None:
        return [*lines, Text(f"{seen.trouble}. Nothing is refreshed until then", style="red")]
    lines.append(
        Text("queues          " + ", ".join(f"{name} {length:,}" for name, length in queues.items()))
    )
    if not workers:
        return [
            *lines,
            Text(f"workers         none answered: `{STANDARD_WORKER}`", style="red"),
        ]
    lines += [Text(f"worker          {name} takes {', '.join(taken)}") for name, taken in workers.items()]
    lines += [Text(f"callback missing  {words}", style="red") for words in lines_of(seen.missing or ())]
    return lines
