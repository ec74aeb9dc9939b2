"""`refreshd accounts`: everything about accounts."""

from __future__ import annotations

import typer

from worker.cli.accounts_add import add
from worker.cli.accounts_authorize import authorize
from worker.cli.accounts_edit import disable, edit, enable
from worker.cli.accounts_import import export_file, import_file
from worker.cli.accounts_remove import remove
from worker.cli.accounts_show import list_accounts, show

accounts_app = typer.Typer(
    help="Import, add, authorize, show, edit and remove accounts. docs/accounts.md describes every field.",
    no_args_is_help=True,
)

accounts_app.command("import")(import_file)
accounts_app.command("add")(add)
accounts_app.command("authorize")(authorize)
accounts_app.command("list")(list_accounts)
accounts_app.command("show")(show)
accounts_app.command("edit")(edit)
accounts_app.command("enable")(enable)
accounts_app.command("disable")(disable)
accounts_app.command("remove")(remove)
accounts_app.command("export")(export_file)
