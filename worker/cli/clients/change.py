"""`refreshd clients add`, `edit` and `remove`."""

from __future__ import annotations

import os
from typing import Annotated, Any, Final

import typer

from models.providers import ClientAuth
from worker.accounts.clients.editor import ClientApplied, ClientEditor
from worker.accounts.clients.entry import CLIENT_SECRET, EXPIRES_AT, NAME, read_client
from worker.accounts.entry import RowRefused
from worker.cli.accounts._fields import fields_of, secret_of, value_of, variable_of
from worker.cli.accounts._services import open_services
from worker.cli.accounts.edit import as_usage_error
from worker.cli.terminal.console import out, print_json
from worker.errors import UsageError

_HOW: Final = "VALUE, @FILE, @- for standard input; alone in `edit`, asked for unseen."

Name = Annotated[str, typer.Argument(metavar="NAME", help="The client's name here.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def add(
    name: Name,
    provider: Annotated[
        str | None, typer.Option(help="A preset's name, or any name together with --token-url.")
    ] = None,
    client_id: Annotated[str | None, typer.Option()] = None,
    client_secret: Annotated[str | None, typer.Option(help=_HOW)] = None,
    client_auth: Annotated[
        ClientAuth | None, typer.Option(help="Default: as the provider's preset says.")
    ] = None,
    token_url: Annotated[str | None, typer.Option(help="Default: the provider's.")] = None,
    issuer: Annotated[
        str | None, typer.Option(metavar="URL", help="Of `--provider issuer`: whose metadata say the rest.")
    ] = None,
    return_url: Annotated[
        list[str] | None,
        typer.Option(help="Where a Connect session may send a browser back to; may be repeated."),
    ] = None,
    client_secret_expires_at: Annotated[
        str | None, typer.Option(help="The end of the secret: epoch seconds or ISO 8601. Default: none.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Do not write the secret into a command line, where every user of the machine sees it.

    Give `--client-secret @FILE`, or set REFRESHD_ACCOUNT_CLIENT_SECRET, or leave it out and answer the prompt. A public client has none: `--client-auth none`.

    Example: `add crm --provider xero --client-id ID --client-secret @secret.txt`; then `accounts import` rows that say `client: crm`.
    """
    given = {
        "provider": provider,
        "client_id": client_id,
        "client_auth": client_auth,
        "token_url": token_url,
        "issuer": issuer,
        "return_urls": list(return_url) if return_url else None,
        EXPIRES_AT: client_secret_expires_at,
    }
    row: dict[str, object] = {name_: value for name_, value in given.items() if value is not None}
    if client_secret is not None:
        row[CLIENT_SECRET] = value_of(CLIENT_SECRET, client_secret)
    elif variable_of(CLIENT_SECRET) in os.environ:
        row[CLIENT_SECRET] = os.environ[variable_of(CLIENT_SECRET)]
    with open_services() as desk:
        applied = _added(desk.client_editor, {NAME: name, **row})
    _report(applied, as_json=as_json)


def edit(
    name: Name,
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="FIELD=VALUE...",
            help="provider, client_id, client_secret, client_auth, token_url, issuer, return_urls (commas between), "
            "client_secret_expires_at. FIELD= takes a value back; @FILE reads a file.",
        ),
    ],
    as_json: AsJson = False,
) -> None:
    """One edit serves all accounts of the client. Those that it had stopped come back one after the other, at their provider's rate.

    A new secret takes the end of the one before it away: give `client_secret_expires_at` with it.

    Examples: `edit crm client_secret=@secret.txt client_secret_expires_at=2027-06-01T00:00:00Z`; `edit crm client_secret`; `edit crm return_urls=https://app.example/connected`.
    """
    fields = fields_of(words)
    if NAME in fields:
        raise UsageError(
            "name: it can't be edited: add the client under its new name, and have accounts name that"
        )
    with open_services() as desk:
        try:
            applied = desk.client_editor.edit(read_client({NAME: name, **fields}))
        except RowRefused as refused:
            raise as_usage_error(refused) from None
    _report(applied, as_json=as_json)


def remove(
    name: Name,
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="Remove it though accounts name it: they are misconfigured from then on."
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """A client that accounts name is kept, unless --force is given. A client of the same name, added later, serves them again."""
    with open_services() as desk:
        used = desk.client_editor.remove(name, even_if_used=force)
    if as_json:
        print_json({"client": name, "removed": True, "accounts": used})
        return
    left = f"; {used:,} accounts still name it, and can't be refreshed" if used else ""
    out.plain(f"removed {name}{left}")


def renew(name: Name, as_json: AsJson = False) -> None:
    """For clients that `accounts authorize --mcp` registered. Their accounts keep their grants, and take a new secret over."""
    from worker.intake.registrations import renewed

    with open_services() as desk:
        try:
            applied = renewed(desk, name)
        except RowRefused as refused:
            raise as_usage_error(refused) from None
    _report(applied, as_json=as_json)


def applied_json(applied: ClientApplied) -> dict[str, Any]:
    """Return what became of a client, as scripts read it."""
    return {
        "client": applied.client.name,
        "outcome": applied.outcome.value,
        "changed": list(applied.changed),
        "accounts": applied.taken_over.accounts,
        "woken": applied.taken_over.woken,
    }


def _added(editor: ClientEditor, row: dict[str, object]) -> ClientApplied:
    """Add a client; where nothing but its secret is missing, the secret is asked for."""
    try:
        return editor.add(read_client(row))
    except RowRefused as refused:
        if CLIENT_SECRET in row or {one.field for one in refused.problems} != {CLIENT_SECRET}:
            raise as_usage_error(refused) from None
    try:
        return editor.add(read_client(row | {CLIENT_SECRET: secret_of(CLIENT_SECRET)}))
    except RowRefused as refused:
        raise as_usage_error(refused) from None


def _report(applied: ClientApplied, *, as_json: bool) -> None:
    if as_json:
        print_json(applied_json(applied))
        return
    name, over = applied.client.name, applied.taken_over
    fields = f" ({', '.join(applied.changed)})" if applied.changed else ""
    accounts = f"; {over.accounts:,} accounts use it" if over.accounts else ""
    woken = (
        f", {over.woken:,} that it had stopped are refreshed again, one after the other" if over.woken else ""
    )
    out.plain(f"{name}: {applied.outcome.value}{fields}{accounts}{woken}")
