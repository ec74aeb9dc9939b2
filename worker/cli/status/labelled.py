"""`refreshd status --label`: the accounts that have some labels."""

from __future__ import annotations

from typing import Any

from rich.console import Group as Stack
from rich.console import RenderableType
from rich.text import Text

from models.tables.account import Status
from worker.cli.status.tables import accounts_table, failing_table
from worker.cli.terminal.console import ago_or_in
from worker.db.fleet.counts import Counts
from worker.db.fleet.labelled import Labelled
from worker.durations import duration

#: Accounts whose token ends first, named on a screen.
_NAMED_MAX = 3


def labelled_screen(seen: Labelled) -> RenderableType:
    """Return what a person sees of them."""
    if not seen.accounts:
        return Text("No account has these labels: `refreshd accounts list --json` shows the labels of each.")
    parts: list[RenderableType] = [accounts_table(seen.by_status), Text()]
    if seen.failing:
        parts += [failing_table(seen.failing), Text()]
    late = "" if seen.oldest_due_at is None else f", the oldest by {duration(seen.now - seen.oldest_due_at)}"
    parts.append(Text(f"overdue         {seen.overdue:,}{late}", style="yellow" if seen.overdue else ""))
    if seen.paused:
        parts.append(Text(f"paused          {seen.paused:,} due accounts wait", style="yellow"))
    if seen.soonest:
        named = [f"{account} {ago_or_in(at, now=seen.now)}" for account, at in seen.soonest[:_NAMED_MAX]]
        parts.append(Text(f"ending soonest  {', '.join(named)}"))
    return Stack(*parts)


def counts_json(
    accounts: int,
    by_status: Counts,
    failing: Counts,
) -> dict[str, Any]:
    """Return counts of accounts as scripts read them: by status, by provider and status, and failing ones by reason."""
    statuses = {status.value: 0 for status in Status}
    for (_, status), number in by_status.items():
        statuses[status] += number
    return {
        "accounts": accounts,
        "statuses": statuses,
        "providers": [
            {"provider": provider, "status": status, "accounts": number}
            for (provider, status), number in sorted(by_status.items())
        ],
        "failing": [
            {"provider": provider, "status": status, "reason": reason, "accounts": number}
            for (provider, status, reason), number in failing.items()
        ],
    }


def labelled_json(seen: Labelled) -> dict[str, Any]:
    """Return them as scripts read them: the names are those of the whole fleet's."""
    return {
        **counts_json(seen.accounts, seen.by_status, seen.failing),
        "overdue": seen.overdue,
        "overdue_by_s": None if seen.oldest_due_at is None else round(seen.now - seen.oldest_due_at, 1),
        "paused_waiting": seen.paused,
        "soonest_to_expire": [{"account": account, "expires_at": at} for account, at in seen.soonest],
    }
