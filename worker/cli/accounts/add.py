"""`refreshd accounts add`: one account by hand, with questions where there is a terminal."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Annotated, Final

import typer

from models.outcome import Outcome
from worker.accounts.apply import Applied
from worker.accounts.columns import SECRETS
from worker.accounts.entry import RowRefused, read_entry
from worker.cli.accounts._fields import field_of, fields_of, variable_of
from worker.cli.accounts._services import AccountServices, AllowSharedGrant, open_services
from worker.cli.accounts.edit import applied_json, as_usage_error, report
from worker.cli.terminal.console import err, out, print_json
from worker.errors import UsageError

if TYPE_CHECKING:  # tables bring the ORM, which reading an account has no use for
    from models.tables.attempt import Attempt


def add(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[ID] [FIELD=VALUE]...", help="Any column of an accounts file; @FILE reads a file."
        ),
    ] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Refresh it once, on a running worker, and say how that went.")
    ] = False,
    allow_shared_grant: AllowSharedGrant = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Do not write secrets into a command line, where every user of the machine sees them.

    Answer the questions, give `refresh_token=@FILE`, or set REFRESHD_ACCOUNT_CLIENT_SECRET, REFRESHD_ACCOUNT_ACCESS_TOKEN and REFRESHD_ACCOUNT_REFRESH_TOKEN. `edit` changes an existing account.

    Examples: `add`; `add acme-1 provider=google`; `add acme-1 client=crm labels.tenant=acme`; `add acme-1 provider=acme token_url=https://acme.example/token custom_fields.tenant=eu --verify`.
    """
    row = _given(words or [])
    with open_services(shared_grants=allow_shared_grant) as services:
        applied = _add(row, services)
        if not (verify and as_json):
            report(applied, as_json=as_json)
        _note_a_new_name(applied, services)
        if verify:
            _verify(applied, services, as_json=as_json)
        elif sys.stdin.isatty() and not as_json:
            err.plain(f"`refreshd refresh {applied.account.id} --force --wait` tries it now", style="dim")


def _given(words: list[str]) -> dict[str, str]:
    """Read the words: an id, if the first one is no FIELD=VALUE, then fields. Secrets may come from the environment."""
    has_id = bool(words) and "=" not in words[0]
    row = {field_of(name): value for name, value in fields_of(words[has_id:]).items()}
    if has_id:
        if "id" in row:
            raise UsageError("id: is given twice")
        row["id"] = words[0]
    from_environment = {name: os.environ.get(variable_of(name)) for name in SECRETS}
    return {name: value for name, value in from_environment.items() if value is not None} | row


def _add(row: dict[str, str], services: AccountServices) -> Applied:
    """Store the account; on a terminal, ask for what is missing, and again for what can't be stored."""
    if not sys.stdin.isatty():
        try:
            return services.editor.add(read_entry(row, cells=True))
        except RowRefused as refused:
            raise as_usage_error(refused) from None
    from worker.cli.accounts._questions import Questions

    questions = Questions(row, services)
    questions.ask_what_is_missing()
    while True:
        try:
            return services.editor.add(read_entry(row, cells=True))
        except RowRefused as refused:
            if not questions.ask_again(refused.problems):
                raise as_usage_error(refused) from None


def _note_a_new_name(applied: Applied, services: AccountServices) -> None:
    """Say where a provider's name is no preset's and no other account's, but nearly one: it may be misspelt."""
    known, account = services.stores.providers.known, applied.account
    if account.provider not in known:
        from worker.accounts.provider_names import new_name_note
        from worker.db.accounts.provider_names import providers_in_use

        used = providers_in_use(services.stores.engine, beside=account.id)
        if note := new_name_note(account.provider, known, used):
            err.plain(note, style="yellow")


def _verify(applied: Applied, services: AccountServices, *, as_json: bool) -> None:
    """Refresh the new account once, and print the verdict.

    Raises:
        WaitTimedOut: no worker did it in time.
        typer.Exit: it was not refreshed.
    """
    from worker.cli.refresh.requests import refresh_once

    services.stores.settings.redis  # noqa: B018  (where there is none, it is said before anybody waits)
    if not as_json:
        err.print("Refreshing it once ...", style="dim")
    attempt = refresh_once(services.stores, applied.account)
    if as_json:
        print_json(
            {**applied_json(applied), "verified": {"outcome": attempt.outcome, "reason": attempt.reason}}
        )
    else:
        out.plain(_verdict(attempt, services))
    if attempt.outcome not in _WORKS:
        raise typer.Exit(1)


#: A token that was replaced meanwhile was replaced by a refresh of this account: the plan, which was first.
_WORKS: Final = frozenset({Outcome.REFRESHED, Outcome.SUPERSEDED})
_TRIED_AGAIN: Final = frozenset({Outcome.RETRY, Outcome.RATE_LIMITED, Outcome.BUSY, Outcome.NOT_SENT})


def _verdict(attempt: Attempt, services: AccountServices) -> str:
    from worker.policy.reasons import message_of

    if attempt.outcome in _WORKS:
        generation = attempt.generation_after
        if attempt.outcome == Outcome.SUPERSEDED:
            stored = services.accounts.find([attempt.account_id]).get(attempt.account_id)
            generation = None if stored is None else stored.generation
        return f"{attempt.account_id}: refreshed, generation {generation}: the account works"
    whose = "The provider's words" if attempt.http_status else "In detail"
    detail = f" {whose}: {attempt.error_description}." if attempt.error_description else ""
    again = " It is tried again by itself." if attempt.outcome in _TRIED_AGAIN else ""
    return (
        f"{attempt.account_id}: not refreshed ({attempt.outcome}). {message_of(attempt.reason or '')}{detail}{again}\n"
        f"It is stored. `refreshd explain {attempt.account_id}` says what to do"
    )
