"""`refreshd accounts edit`, `enable` and `disable`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from models.act import Action
from worker.accounts.apply import Applied
from worker.accounts.entry import AccountEntry, RowRefused, read_entry
from worker.cli.accounts._fields import fields_of
from worker.cli.accounts._services import AllowSharedGrant, open_services
from worker.cli.terminal.console import ago_or_in, out, print_json
from worker.clock import wall_clock
from worker.errors import InputError, UsageError

Ids = Annotated[list[str], typer.Argument(metavar="ID...", help="Ids of accounts.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, one object per account.")]


def edit(
    account_id: Annotated[str, typer.Argument(metavar="ID", help="The account's id.")],
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="FIELD=VALUE...",
            help="Any column of an accounts file. FIELD= takes a value back to its default; @FILE reads a file.",
        ),
    ],
    allow_shared_grant: AllowSharedGrant = False,
    as_json: AsJson = False,
) -> None:
    """Do not write secrets into a command line, where every user of the machine sees them.

    Give `refresh_token=@FILE`, `refresh_token=@-` for standard input, or `refresh_token` alone, which reads REFRESHD_ACCOUNT_REFRESH_TOKEN or asks without showing it. New tokens replace the stored ones and are published at once.

    Examples: `edit acme-1 session_management=fixed session_timeout_s=1200`; `edit acme-1 client_secret`; `edit acme-1 custom_fields.tenant=t1 margin_s=`.
    """
    fields = fields_of(words)
    if any(name.strip().casefold() == "id" for name in fields):
        raise UsageError(
            "id: it can't be edited: export the account, add it under its new id, remove the old one"
        )
    try:
        entry = read_entry({"id": account_id, **fields}, cells=True, empty_takes_back=True)
        with open_services(shared_grants=allow_shared_grant) as desk:
            applied = desk.editor.edit(entry)
    except RowRefused as refused:
        raise as_usage_error(refused) from None
    report(applied, as_json=as_json)


def enable(ids: Ids, as_json: AsJson = False) -> None:
    _set_enabled(ids, enabled=True, as_json=as_json)


def disable(ids: Ids, as_json: AsJson = False) -> None:
    _set_enabled(ids, enabled=False, as_json=as_json)


def report(applied: Applied, *, as_json: bool) -> None:
    """Return what became of one account."""
    account = applied.account
    if as_json:
        print_json(applied_json(applied))
        return
    fields = f" ({', '.join(applied.changed)})" if applied.changed else ""
    planned = account.due_reason
    if account.next_refresh_at is not None:
        due = account.next_refresh_at <= wall_clock()
        planned = "refresh due now" if due else f"next refresh {ago_or_in(account.next_refresh_at)}"
    out.plain(f"{account.id}: {applied.outcome.value}{fields}; {account.status}, {planned}")


def applied_json(applied: Applied) -> dict[str, Any]:
    """Return what became of one account, as scripts read it."""
    account = applied.account
    return {
        "account": account.id,
        "outcome": applied.outcome.value,
        "changed": list(applied.changed),
        "generation": account.generation,
        "status": account.status,
        "next_refresh_at": account.next_refresh_at,
    }


def as_usage_error(refused: RowRefused) -> UsageError:
    """Return a refusal as the error that ends a command."""
    if len(refused.problems) == 1:
        return InputError(refused.problems[0].field, refused.problems[0].words)
    return UsageError("\n".join(map(str, refused.problems)))


def _set_enabled(ids: list[str], *, enabled: bool, as_json: bool) -> None:
    with open_services() as desk:
        desk.editor.accounts(ids)
        for account_id in dict.fromkeys(ids):
            try:
                applied = desk.editor.edit(
                    AccountEntry(account_id, settings={"refresh_enabled": enabled}),
                    Action.ENABLE if enabled else Action.DISABLE,
                )
            except RowRefused as refused:
                raise as_usage_error(refused) from None
            report(applied, as_json=as_json)
