"""`refreshd refresh --provider NAME --force`: many accounts are made due, and refreshed at their provider's rate."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection

from models.tables.account import Status
from models.tables.audit import Action
from worker.cli.terminal.console import accounts_words, err, out, print_json
from worker.context import AppContext
from worker.db.accounts.filter import Filter
from worker.db.accounts.stored import PAGE, Accounts
from worker.db.planning.asked_for import make_due
from worker.db.records.acts import RunningEntry
from worker.errors import UsageError
from worker.policy.reasons.due import ASKED_FOR


def refresh_many(here: AppContext, wanted: Filter, *, force: bool, wait: bool, as_json: bool) -> None:
    """Make all accounts due that are like that, and say how many.

    Raises:
        UsageError: what is asked for is not for many accounts.
    """
    if not force:
        raise UsageError(
            "what is due is refreshed by itself: with --force, all accounts that are like that are"
        )
    if wait:
        raise UsageError(
            "--wait is for named accounts: `refreshd status` and `refreshd explain ID` show how many went"
        )
    if wanted.status == Status.REAUTHORIZE:
        raise UsageError(
            "accounts in `reauthorize` need their owner: `refreshd refresh ID --force` tries the old grant of one once more"
        )
    asked = due = 0
    entry = RunningEntry(here.engine, here.actor, Action.REFRESH, _named(wanted))
    accounts, after = Accounts(here.engine), ""
    while page := accounts.page(wanted, after, PAGE):

        def note(connection: Connection, count: int, before: int = due) -> None:
            entry.write(connection, {"accounts": before + count})

        ids = [account.id for account in page]
        asked, after = asked + len(ids), ids[-1]
        due += make_due(here.engine, ids, reason=ASKED_FOR, note=note)
    if as_json:
        print_json({"accounts": asked, "due": due})
        return
    if not asked:
        err.plain("No account is like that.")
        return
    out.plain(
        f"{accounts_words(due)} due now: the next plans refresh them, no faster than their provider takes"
    )
    if asked > due:
        err.plain(
            f"{asked - due:,} of {asked:,} are as they were: due or under way already, paused, disabled, or in `reauthorize`",
            style="yellow",
        )


def _named(wanted: Filter) -> dict[str, Any]:
    labels = [f"{name}={value}" for name, value in wanted.labels.items()]
    found = {"provider": wanted.provider, "status": wanted.status, "why": wanted.reason, "labels": labels}
    return {name: value for name, value in found.items() if value}
