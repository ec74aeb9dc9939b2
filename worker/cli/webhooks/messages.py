"""`refreshd webhooks test`, `list` and `retry`: endpoints, and messages that wait or are dead-lettered."""

from __future__ import annotations

import asyncio
import json
from typing import Annotated, Any

import typer
from rich.text import Text

from models.tables.outbox import Message
from worker.cli.terminal.console import ago_or_in, out, print_json
from worker.cli.terminal.context import open_stores
from worker.clock import wall_clock
from worker.context import AppContext
from worker.db.outbox import Backlog, new_id
from worker.errors import SettingsError, UsageError
from worker.notifications.webhook_client import URL_SETTING, DeliveryResult, Endpoint, WebhookClient
from worker.notifications.webhook_sender import test_body
from worker.providers.egress import Egress

Json = Annotated[bool, typer.Option("--json", help="Print JSON Lines.")]


def send_test(as_json: Json = False) -> None:
    """The message is sent from this machine and is not queued or retried. Exits with 1 if a webhook did not accept it."""
    with open_stores() as here:
        endpoints = _configured(here)
        answers = asyncio.run(_send(here, endpoints, test_body(wall_clock())))
        for endpoint, taken in zip(endpoints, answers, strict=True):
            if as_json:
                print_json({"endpoint": endpoint.name, "ok": taken.error is None, **_without_wait(taken)})
                continue
            ok = taken.error is None
            mark = ("ok  ", "green") if ok else ("FAIL", "bold red")
            out.print(
                Text.assemble(
                    mark, f"  {endpoint.name}: {f'HTTP {taken.http_status}' if ok else taken.error}"
                ),
                soft_wrap=True,
            )
        if any(taken.error is not None for taken in answers):
            raise typer.Exit(1)


def list_webhooks(
    limit: Annotated[int, typer.Option("--limit", "-n", help="Messages to show.", min=0, max=10_000)] = 20,
    as_json: Json = False,
) -> None:
    """With --json: a line per webhook (`"endpoint"`), then a line per message (`"webhook"`)."""
    with open_stores() as here:
        backlogs = _backlogs(here)
        messages = list(here.outbox.messages(limit=limit)) if limit else []
        if as_json:
            for one in backlogs:
                print_json(one.as_json())
            for message in messages:
                print_json(_as_json(message))
            return
        if not backlogs:
            out.print(
                Text.from_markup(f"No webhook is configured: set [b]{URL_SETTING}[/b] (docs/events.md).")
            )
            return
        now = here.clock.now()
        for one in backlogs:
            out.print(_line(one, now=now), soft_wrap=True)
        for message in messages:
            out.print(_message_line(message, now=now), soft_wrap=True)


def retry(
    ids: Annotated[
        list[str] | None, typer.Argument(help="Ids of messages; without any, all.", metavar="[ID...]")
    ] = None,
) -> None:
    with open_stores() as here:
        _configured(here)
        count = here.outbox.retry(ids or ())
        if ids and not count:
            raise UsageError(
                f"not dead-lettered: {', '.join(ids)}; `refreshd webhooks list` shows the messages that are"
            )
        out.print(f"{count:,} {'message is' if count == 1 else 'messages are'} on the way again")


def _configured(here: AppContext) -> list[Endpoint]:
    if not here.endpoints:
        raise SettingsError(f"{URL_SETTING} is not set: there is no endpoint to send to (docs/events.md)")
    return here.endpoints


async def _send(here: AppContext, endpoints: list[Endpoint], body: str) -> list[DeliveryResult]:
    settings = here.settings
    client = WebhookClient(
        settings.webhook_secrets, ca_file=settings.ca_file, now=wall_clock, egress=Egress.of(settings)
    )
    try:
        return list(
            await asyncio.gather(*(client.send(one, new_id("msg_", wall_clock()), body) for one in endpoints))
        )
    finally:
        await client.aclose()


def _backlogs(here: AppContext) -> list[Backlog]:
    """Return what is known of each webhook, those that have had nothing yet included."""
    found = {one.endpoint: one for one in here.outbox.backlog()}
    for endpoint in here.endpoints:
        found.setdefault(endpoint.name, Backlog(endpoint.name, 0, None, 0, 0, None))
    return list(found.values())


def _line(one: Backlog, *, now: float) -> Text:
    since = "" if one.oldest_at is None else f", the oldest from {ago_or_in(one.oldest_at, now=now)}"
    line = Text.assemble(
        (one.endpoint, "bold"),
        f"  {one.delivered:,} delivered in the last day, ",
        (f"{one.waiting:,} waiting{since}", "yellow" if one.last_error else ""),
        ", ",
        (f"{one.dead_lettered:,} dead-lettered", "red" if one.dead_lettered else ""),
    )
    return line.append(f"; last: {one.last_error}", style="dim") if one.last_error else line


def _message_line(message: Message, *, now: float) -> Text:
    what, style = ("dead-lettered", "red") if message.failed_at is not None else ("waiting", "yellow")
    line = Text.assemble(
        (f"{ago_or_in(message.created_at, now=now):>11}  ", "dim"),
        (f"{what:<13}  ", style),
        f"{message.type:<13}  {_about(message)}",
    )
    facts = [
        message.id,
        message.endpoint,
        f"{message.attempts} attempts" if message.attempts > 1 else "",
        message.error or "",
        f"again {ago_or_in(message.next_at, now=now)}" if message.next_at and message.attempts else "",
    ]
    return line.append("  " + ", ".join(fact for fact in facts if fact), style="dim")


def _about(message: Message) -> str:
    data = json.loads(message.body)["data"]
    if "count" in data and message.happenings > 1:
        return f"{data['count']:,} accounts of {data['provider']}"
    return str(data.get("account") or data.get("client") or data.get("provider"))


def _as_json(message: Message) -> dict[str, Any]:
    return {
        "webhook": message.id,
        "endpoint": message.endpoint,
        "type": message.type,
        "state": "dead_lettered" if message.failed_at is not None else "waiting",
        "created_at": message.created_at,
        "attempts": message.attempts,
        "next_at": message.next_at,
        "http_status": message.http_status,
        "error": message.error,
        "message": json.loads(message.body),
    }


def _without_wait(taken: DeliveryResult) -> dict[str, Any]:
    return {"http_status": taken.http_status, "error": taken.error}
