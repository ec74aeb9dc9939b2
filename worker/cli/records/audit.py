"""`refreshd audit`: what people did to the fleet."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.text import Text

from models.act import Action
from worker.cli.terminal.console import ago_or_in, err, out, print_json
from worker.cli.terminal.context import open_stores
from worker.context import AppContext
from worker.db.accounts.nearest_ids import nearest_ids
from worker.db.accounts.rows import find_accounts
from worker.durations import duration, seconds_of
from worker.errors import UnknownAccount

if TYPE_CHECKING:  # tables bring the ORM, which reading an account has no use for
    from models.tables.audit import Audit

_FOLLOW_S: Final = 1.0
#: What takes rights or secrets out of refreshd's hands is seen at a glance.
_STYLES: Final[Mapping[str, str]] = {
    Action.REVEAL: "yellow",
    Action.EXPORT: "yellow",
    Action.REMOVE: "red",
    Action.REVOKE: "red",
    Action.PAUSE: "yellow",
    Action.RESUME: "green",
}


def audit(
    account: Annotated[
        str | None, typer.Argument(help="An account's id; left out: of everything.", metavar="ACCOUNT")
    ] = None,
    since: Annotated[
        str | None, typer.Option(metavar="DURATION", help="Nothing older than 30m, 2h, 1d ...")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", help="Entries to show.", min=1, max=100_000)] = 100,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on, until Ctrl-C.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON Lines.")] = False,
) -> None:
    """Edits name the changed fields. An account's trail includes the pauses that applied to it together with others."""
    since_s = None if since is None else seconds_of(since, option="--since")
    with open_stores() as here:
        provider = None if account is None else _provider(here, account)
        entries = _read(here, account, provider, since_s, limit)
        seen = {entry.id: entry.detail for entry in entries}
        for entry in reversed(entries):
            _show(entry, now=here.clock.now(), as_json=as_json)
        if not entries and not as_json:
            err.print("Nothing yet: nobody did anything that is written down.", style="dim")
        while follow:
            time.sleep(_FOLLOW_S)
            for entry in reversed(_read(here, account, provider, since_s, limit)):
                if seen.get(entry.id) != entry.detail:
                    seen[entry.id] = entry.detail
                    _show(entry, now=here.clock.now(), as_json=as_json)


def audit_line(entry: Audit, *, now: float) -> Text:
    """Return one entry as a line."""
    of = entry.account_id or entry.provider or ""
    line = Text.assemble(
        (f"{ago_or_in(entry.at, now=now):>11}  ", "dim"),
        f"{entry.actor}@{entry.host}  ",
        (f"{entry.action:<13}", _STYLES.get(entry.action, "bold")),
        f"  {of}" if of else "",
    )
    words = ", ".join(_words(name, value) for name, value in json.loads(entry.detail).items())
    return line.append(f"  {words}" if words else "", style="dim")


def _words(name: str, value: object) -> str:
    if isinstance(value, list):
        return f"{name} {' '.join(map(str, value))}"
    if isinstance(value, bool):
        return f"{name} {'yes' if value else 'no'}"
    if name.endswith("_s") and isinstance(value, float):
        return f"{name.removesuffix('_s')} {duration(value)}"
    return f"{name} {value:,}" if isinstance(value, int) else f"{name} {value}"


def _provider(here: AppContext, account_id: str) -> str | None:
    """Return an account's provider; of one that was removed its trail is left, and no provider.

    Raises:
        UnknownAccount: there never was one of this id.
    """
    found = find_accounts(here.engine, [account_id]).get(account_id)
    if found is not None:
        return found.provider
    if not here.audit.own(account_id, limit=1):
        raise UnknownAccount(account_id, near=nearest_ids(here.engine, account_id))
    return None


def _read(
    here: AppContext, account: str | None, provider: str | None, since_s: float | None, limit: int
) -> list[Audit]:
    if account is None:
        return here.audit.latest(since_s=since_s, limit=limit)
    if provider is None:
        return here.audit.own(account, since_s=since_s, limit=limit)
    return here.audit.of(account, provider, since_s=since_s, limit=limit)


def _show(entry: Audit, *, now: float, as_json: bool) -> None:
    if as_json:
        print_json(entry.to_json())
    else:
        out.print(audit_line(entry, now=now), soft_wrap=True)
