"""`refreshd accounts`: everything about accounts."""

from __future__ import annotations

import typer

from worker.cli.terminal.lazy import add_lazy_command

accounts_app = typer.Typer(
    help="Import, add, authorize, show, edit and remove accounts. docs/accounts.md describes every field.",
    no_args_is_help=True,
)

add_lazy_command(
    accounts_app,
    "import",
    "worker.cli.accounts.import_export:import_file",
    "Import accounts from a file. Safe to run again: what is stored and not named differently stays as it is.",
)
add_lazy_command(
    accounts_app,
    "add",
    "worker.cli.accounts.add:add",
    "Add one account. On a terminal you are asked for what its provider needs and you did not give.",
)
add_lazy_command(
    accounts_app,
    "authorize",
    "worker.cli.accounts.authorize:authorize",
    "Ask an account's owner for consent, and store and publish the tokens that come of it.",
)
add_lazy_command(
    accounts_app,
    "list",
    "worker.cli.accounts.show:list_accounts",
    "List accounts with their status, in the order of their ids. Secrets are not shown.",
)
add_lazy_command(
    accounts_app,
    "show",
    "worker.cli.accounts.show:show",
    "Show all that is stored of one account, every secret masked (`refreshd token ID --reveal` shows a token).",
)
add_lazy_command(
    accounts_app,
    "edit",
    "worker.cli.accounts.edit:edit",
    "Change fields of an account; the new values hold from the next refresh on, and it is planned anew.",
)
add_lazy_command(accounts_app, "enable", "worker.cli.accounts.edit:enable", "Refresh these accounts again.")
add_lazy_command(
    accounts_app,
    "disable",
    "worker.cli.accounts.edit:disable",
    "Refresh these accounts no more. Their tokens stay published until they end.",
)
add_lazy_command(
    accounts_app,
    "remove",
    "worker.cli.accounts.remove:remove",
    "Remove accounts, their tokens and all that Redis has of them. On a terminal you are asked first.",
)
add_lazy_command(
    accounts_app,
    "export",
    "worker.cli.accounts.import_export:export_file",
    "Write all accounts to a file that `import` reads; without their secrets unless asked.",
)
