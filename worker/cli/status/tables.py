"""Tables of `status`: accounts by provider and status, and what fails."""

from __future__ import annotations

from typing import Final

from rich.table import Table
from rich.text import Text

from models.tables.account import Status
from worker.db.fleet.counts import Counts

_STYLES: Final = {
    Status.ACTIVE: "green",
    Status.DEGRADED: "yellow",
    Status.REAUTHORIZE: "red",
    Status.MISCONFIGURED: "red",
    Status.DISABLED: "dim",
}


def accounts_table(by_status: Counts) -> Table:
    """Return accounts by provider and status."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("provider")
    for status_ in Status:
        table.add_column(status_.value, justify="right")
    counts: dict[str, dict[str, int]] = {}
    for (provider, of), number in sorted(by_status.items()):
        counts.setdefault(provider, {})[of] = number
    for provider, row in counts.items():
        table.add_row(Text(provider), *(_count(row.get(status_, 0), _STYLES[status_]) for status_ in Status))
    if len(counts) > 1:
        totals = {s: sum(row.get(s, 0) for row in counts.values()) for s in Status}
        table.add_section()
        table.add_row(Text("all", style="bold"), *(_count(totals[s], _STYLES[s]) for s in Status))
    return table


def _count(number: int, style: str) -> Text:
    return Text(f"{number:,}" if number else "-", style=style if number else "dim")


def failing_table(failing: Counts) -> Table:
    """Return the groups of accounts that fail."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for name in ("failing", "status", "reason", "accounts"):
        table.add_column(name, justify="right" if name == "accounts" else "left")
    for (provider, of, reason), number in failing.items():
        table.add_row(Text(provider), Text(of, style=_STYLES[Status(of)]), Text(reason), f"{number:,}")
    return table
