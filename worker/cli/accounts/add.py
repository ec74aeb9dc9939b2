"""`refreshd accounts add`: one account by hand, with questions where there is somebody to answer them."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Final

import typer

from models.account import RefreshMethod, SessionManagement
from models.provider_requirements import needed
from models.providers import ClientAuth
from worker.accounts.columns import OF_THE_CLIENT, SECRETS, ColumnKind, column_of
from worker.accounts.entry import RowRefused, read_entry
from worker.cli.accounts._fields import fields_of, value_of, variable_of
from worker.cli.accounts._services import AccountServices, AllowSharedGrant, open_services
from worker.cli.accounts.edit import as_usage_error, report
from worker.cli.labels import Labels, labels_of
from worker.cli.terminal.prompts import ask
from worker.errors import UsageError

_HOW: Final = "VALUE, @FILE, @- for standard input; asked for unseen on a terminal."
_OPTIONAL_OF_ANY_PROVIDER: Final = ("client_id", "client_secret", "access_token")
#: Which of them a callback needs, only it knows.
_OPTIONAL_OF_A_CALLBACK: Final = (*_OPTIONAL_OF_ANY_PROVIDER, "refresh_token")


def add(
    account_id: Annotated[str | None, typer.Argument(metavar="ID", help="The account's id.")] = None,
    provider: Annotated[
        str | None, typer.Option(help="A preset's name, or any name together with --token-url.")
    ] = None,
    client: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="A stored client (`refreshd clients`) instead of an id and secret."
        ),
    ] = None,
    client_id: Annotated[str | None, typer.Option()] = None,
    client_secret: Annotated[str | None, typer.Option(help=_HOW)] = None,
    client_auth: Annotated[
        ClientAuth | None, typer.Option(help="Default: as the provider's preset says.")
    ] = None,
    access_token: Annotated[str | None, typer.Option(help=_HOW)] = None,
    refresh_token: Annotated[str | None, typer.Option(help=_HOW)] = None,
    token_url: Annotated[str | None, typer.Option(help="Default: the provider's.")] = None,
    server_url: Annotated[str | None, typer.Option(help="The resource server, for templates.")] = None,
    refresh_enabled: Annotated[
        bool | None, typer.Option("--refresh/--no-refresh", help="Refresh it. Default: yes.")
    ] = None,
    refresh_method: Annotated[RefreshMethod | None, typer.Option(help="Default: body.")] = None,
    callback: Annotated[str | None, typer.Option(help="The callback of refresh method `callback`.")] = None,
    session_management: Annotated[SessionManagement | None, typer.Option(help="Default: auto.")] = None,
    session_timeout_s: Annotated[str | None, typer.Option(help="Seconds. Default: 900.")] = None,
    issued_at: Annotated[str | None, typer.Option(help="Epoch seconds or ISO 8601.")] = None,
    expires_in: Annotated[str | None, typer.Option(help="Seconds from --issued-at on.")] = None,
    expires_at: Annotated[str | None, typer.Option(help="Epoch seconds or ISO 8601.")] = None,
    scope: Annotated[str | None, typer.Option()] = None,
    token_type: Annotated[str | None, typer.Option(help="Default: Bearer.")] = None,
    custom_field: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="A custom field; may be repeated.")
    ] = None,
    knob: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KNOB=VALUE", help="A provider's knob, for this account; may be repeated."
        ),
    ] = None,
    label: Labels = None,
    allow_shared_grant: AllowSharedGrant = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Do not write secrets into a command line, where every user of the machine sees them.

    Give `@FILE`, or set REFRESHD_ACCOUNT_CLIENT_SECRET, REFRESHD_ACCOUNT_ACCESS_TOKEN and REFRESHD_ACCOUNT_REFRESH_TOKEN, or answer the prompts. `edit` changes an existing account.
    """
    given = {
        "id": account_id,
        "provider": provider,
        "client": client,
        "client_id": client_id,
        "client_secret": client_secret,
        "client_auth": client_auth,
        "access_token": access_token,
        "refresh_token": refresh_token,
        "token_url": token_url,
        "server_url": server_url,
        "refresh_enabled": refresh_enabled,
        "refresh_method": refresh_method,
        "callback": callback,
        "session_management": session_management,
        "session_timeout_s": session_timeout_s,
        "issued_at": issued_at,
        "expires_in": expires_in,
        "expires_at": expires_at,
        "scope": scope,
        "token_type": token_type,
    }
    row = {name: value for name, value in _resolved(given) if value is not None}
    row |= fields_of([f"custom_fields.{word}" for word in custom_field or []])
    row |= _knobs(knob or [])
    row |= {f"labels.{name}": value for name, value in labels_of(label).items()}
    with open_services(shared_grants=allow_shared_grant) as desk:
        if sys.stdin.isatty():
            _ask(row, desk)
        try:
            applied = desk.editor.add(read_entry(row, cells=True))
        except RowRefused as refused:
            raise as_usage_error(refused) from None
    report(applied, as_json=as_json)


def _resolved(given: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    for name, value in given.items():
        if value is None and name in SECRETS:
            yield name, os.environ.get(variable_of(name))
        elif isinstance(value, str):
            yield name, value_of(name, value) if name in SECRETS else value
        else:
            yield name, value


def _knobs(words: list[str]) -> dict[str, str]:
    found = fields_of(words)
    for name in found:
        column = column_of(name)
        if column is None or column.kind is not ColumnKind.KNOB:
            raise UsageError(f"--set {name}: is no provider's knob; docs/providers.md lists them")
    return found


def _ask(row: dict[str, object], desk: AccountServices) -> None:
    """Ask for the id, the provider, and what a refresh at this provider needs."""
    client = desk.stores.clients.find([str(row["client"])]) if row.get("client") else {}
    for name in ("id",) if client else ("id", "provider"):
        if not row.get(name):
            row[name] = ask(name)
    known = desk.stores.providers.known
    provider = row.get("provider") or next(iter(client.values())).provider
    preset = known.get(str(provider).strip().lower())
    if row.get("refresh_method") == RefreshMethod.CALLBACK:
        _ask_optional(row, _OPTIONAL_OF_A_CALLBACK)
        return
    if not _is_planned(row):
        return
    auth = row.get("client_auth")
    wanted = needed(preset or known["generic"], auth if isinstance(auth, ClientAuth) else None)
    theirs = (*OF_THE_CLIENT, "client_secret", "token_url") if client else ()
    for name in wanted:
        if (
            name not in row
            and name not in theirs
            and not (name == "token_url" and preset is not None and preset.endpoint)
        ):
            row[name] = _answer(name)
    if not client and (preset is None or preset.endpoint is None):
        _ask_optional(row, _OPTIONAL_OF_ANY_PROVIDER)


def _ask_optional(row: dict[str, object], names: Sequence[str]) -> None:
    for name in names:
        if name not in row:
            row[name] = _answer(name, " (Enter for none)")


def _answer(name: str, hint: str = "") -> str:
    hidden = name in SECRETS or name.startswith("custom_fields.")
    answer = ask(name + hint, hidden=hidden, optional=True)
    return str(answer)


def _is_planned(row: dict[str, object]) -> bool:
    return row.get("refresh_enabled") is not False and row.get("session_management") != SessionManagement.NONE
