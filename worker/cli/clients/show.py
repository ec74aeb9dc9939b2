"""`refreshd clients list` and `show`: what is stored of clients, never a secret."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from worker.accounts.clients.editor import UnknownClient
from worker.accounts.clients.view import client_json
from worker.cli.terminal.console import ago_or_in, err, out, print_json
from worker.cli.terminal.context import open_stores

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, one object per client.")]


def list_clients(as_json: AsJson = False) -> None:
    with open_stores() as here:
        found, used, now = here.clients.all(), here.clients.accounts(), here.clock.now()
    if as_json:
        for one in found:
            print_json(client_json(one, accounts=used.get(one.name, 0)))
        return
    if not found:
        err.plain("No clients yet:  refreshd clients add NAME --provider PROVIDER --client-id ID")
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("client", "provider", "client id", "accounts", "secret ends"):
        table.add_column(heading, overflow="fold")
    for one in found:
        ends_at = one.secret_expires_at
        ended = ends_at is not None and ends_at <= now
        table.add_row(
            Text(one.name),
            Text(one.provider),
            Text(one.client_id or ""),
            f"{used.get(one.name, 0):,}",
            Text("" if ends_at is None else ago_or_in(ends_at, now=now), style="red" if ended else ""),
        )
    out.print(table)


def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The client's name here.")],
    as_json: AsJson = False,
) -> None:
    with open_stores() as here:
        client = here.clients.find([name]).get(name)
        if client is None:
            raise UnknownClient(name)
        found, now = client_json(client, accounts=here.clients.accounts().get(name, 0)), here.clock.now()
    if as_json:
        print_json(found)
        return
    table = Table(box=None, show_header=False, pad_edge=False)
    for field, value in found.items():
        if value not in (None, "", []):
            table.add_row(Text(field), Text(_words(field, value, now)))
    out.print(table)


def _words(field: str, value: Any, now: float) -> str:
    if field.endswith("_at"):
        return f"{ago_or_in(value, now=now)} ({value:.0f})"
    return " ".join(value) if isinstance(value, list) else str(value)
