"""`refreshd accounts list` and `show`: what is stored, and never a secret."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from msgspec.structs import replace
from rich.table import Table
from rich.text import Text

from models.account_state import RefreshMethod, Status
from worker.accounts.view import listed, masked
from worker.cli.terminal.console import PipedConsole, ago_or_in, err, out, print_json
from worker.cli.terminal.context import accounts_of, open_stores
from worker.cli.terminal.labels import Labels, labels_of
from worker.context import AppContext

if TYPE_CHECKING:  # tables bring the ORM, which reading an account has no use for
    from models.tables.account import Account

#: A table that is not on a terminal is for `grep`: no cell is broken.
_WIDE: Final = 400
#: The columns of a list, and how wide a terminal has to be to have room for each.
_COLUMNS: Final = {
    "account": 0,
    "provider": 0,
    "status": 0,
    "method": 110,
    "session": 110,
    "refresh": 80,
    "token ends": 60,
    "reason": 0,
}
#: Rows of a table; a script gets all.
_ROWS_SHOWN: Final = 100

_STYLES: Final = {
    Status.ACTIVE: "green",
    Status.DEGRADED: "yellow",
    Status.REAUTHORIZE: "red",
    Status.MISCONFIGURED: "red",
    Status.DISABLED: "dim",
}
_TIMES: Final = frozenset(
    {"issued_at", "expires_at", "next_refresh_at", "status_at", "created_at", "refresh_token_expires_at"}
)


def list_accounts(
    status: Annotated[Status | None, typer.Option(help="Only accounts in this status.")] = None,
    provider: Annotated[str | None, typer.Option(help="Only this provider's accounts.")] = None,
    method: Annotated[RefreshMethod | None, typer.Option(help="Only accounts refreshed this way.")] = None,
    client: Annotated[str | None, typer.Option(help="Only accounts that name this client.")] = None,
    label: Labels = None,
    reason: Annotated[
        str | None, typer.Option(help="Only accounts that fail for this reason, a name of `status`.")
    ] = None,
    overdue: Annotated[
        bool, typer.Option("--overdue", help="Only accounts that `status` counts as overdue.")
    ] = False,
    limit: Annotated[
        int | None, typer.Option(min=1, help=f"At most so many. Default: {_ROWS_SHOWN}, with --json all.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON Lines, one account a line.")] = False,
) -> None:
    from worker.db.accounts.filter import Filter  # they bring the ORM, which `show` does without
    from worker.db.accounts.stored import Accounts

    wanted = Filter(
        status.value if status else None,
        provider,
        method.value if method else None,
        client,
        labels_of(label),
        reason=reason,
    )
    with open_stores() as here:
        if overdue:
            wanted = replace(wanted, due_before=_overdue_since(here))
        accounts = Accounts(here.engine)
        if as_json:
            for account in accounts.all(wanted, limit=limit):
                print_json(listed(account))
            return
        shown = list(accounts.all(wanted, limit=limit or _ROWS_SHOWN))
        if not shown:
            _say_none(accounts.count())
            return
        console = out if out.is_terminal else PipedConsole(width=_WIDE, highlight=False)
        console.print(_table(shown, here.clock.now(), console.width))
        more = accounts.count(wanted) - len(shown)
        if more > 0:
            err.print(f"... and {more:,} more: --limit N, or --json for all", style="dim")


def show(
    account_id: Annotated[str, typer.Argument(metavar="ID", help="The account's id.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    with open_stores() as here:
        (account,) = accounts_of(here, [account_id])
        found, now = masked(account, here.sealer), here.clock.now()
    if as_json:
        print_json(found)
        return
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, value in _lines(found):
        table.add_row(Text(name), Text(_words(name, value, now)))
    out.print(table)


def _overdue_since(here: AppContext) -> float:
    """Return the time before which an account came due that is overdue; while everything is paused, none is."""
    from worker.db.fleet.counts import OVERDUE_AFTER_S  # `show` does without

    return float("-inf") if here.pauses.standing().everything else here.clock.now() - OVERDUE_AFTER_S


def _lines(found: dict[str, Any]) -> list[tuple[str, Any]]:
    flat: list[tuple[str, Any]] = []
    for name, value in found.items():
        if isinstance(value, dict):
            flat += [(f"{name}.{inner}", text) for inner, text in value.items()]
        elif value not in (None, ""):
            flat.append((name, value))
    return flat


def _words(name: str, value: Any, now: float) -> str:
    if name in _TIMES:
        return f"{ago_or_in(value, now=now)} ({value:.0f})"
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _table(accounts: list[Account], now: float, width: int) -> Table:
    table = Table(box=None, pad_edge=False)
    shown = [heading for heading in _COLUMNS if width >= _COLUMNS[heading]]
    for heading in shown:
        whole = heading not in {"account", "provider", "reason"}
        table.add_column(heading, overflow="fold", no_wrap=whole)
    for account in accounts:
        cells: dict[str, Text | str] = {
            "account": Text(account.id),
            "provider": Text(account.provider),
            "status": Text(account.status, style=_STYLES[Status(account.status)]),
            "method": account.refresh_method,
            "session": account.session_management,
            "refresh": ago_or_in(account.next_refresh_at, now=now),
            "token ends": ago_or_in(account.expires_at, now=now),
            "reason": Text(account.reason or account.due_reason),
        }
        table.add_row(*(cells[heading] for heading in shown))
    return table


def _say_none(in_all: int) -> None:
    if in_all:
        err.print(f"No account is like that; {in_all:,} are stored in all.")
        return
    err.plain("No accounts yet. Import a file:  refreshd accounts import FILE")
    err.plain("or add one by hand:              refreshd accounts add")
