"""`refreshd accounts authorize`: the first grant, without a refresh token fetched by hand."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Final

import typer

from models.providers import GrantType
from models.refresh_request import RefreshRequest
from models.tables.audit import Action
from models.token import TokenResponse
from worker.accounts.apply import Applied
from worker.accounts.configuration import KnownClients
from worker.accounts.entry import AccountEntry, RowRefused, read_entry
from worker.accounts.grants.authorization import request_of, with_grant
from worker.cli.accounts._consent import Consent, NoConsent
from worker.cli.accounts._fields import fields_of, is_hidden
from worker.cli.accounts._services import AccountServices, AllowSharedGrant, open_services
from worker.cli.accounts.edit import as_usage_error, report
from worker.cli.terminal.console import err
from worker.cli.terminal.prompts import ask
from worker.errors import UsageError
from worker.providers.authorization import scope_of
from worker.providers.authorization.loopback_redirect import free_redirect_uri
from worker.providers.registry import ISSUER

#: Fields that come with the consent.
_TO_COME: Final = frozenset({"access_token", "refresh_token"})
_TIMEOUT_S: Final = 300.0


def authorize(
    account_id: Annotated[str, typer.Argument(metavar="ACCOUNT", help="The account's id, new or not.")],
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="FIELD=VALUE",
            help="Any column of an accounts file, for a new account or to change with it; @FILE reads a file.",
        ),
    ] = None,
    device: Annotated[
        bool, typer.Option("--device", help="Show a code to type in on another device (RFC 8628).")
    ] = False,
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open the page in this machine's browser.")
    ] = True,
    redirect_uri: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Where the provider sends the browser: http://127.0.0.1:PORT/..., or any other with --paste. "
            "Default: a free port of 127.0.0.1.",
        ),
    ] = None,
    paste: Annotated[
        bool,
        typer.Option("--paste", help="Ask for the address at which the browser ended; for a far machine."),
    ] = False,
    mcp: Annotated[
        str | None,
        typer.Option(
            "--mcp",
            metavar="URL",
            help="A protected resource, such as an MCP server: its address says where consent is asked, and as which client.",
        ),
    ] = None,
    client: Annotated[
        str | None,
        typer.Option(
            "--client",
            metavar="NAME",
            help="A stored client. Default with --mcp: one that is registered with the server (RFC 7591).",
        ),
    ] = None,
    scope: Annotated[
        str | None,
        typer.Option(
            metavar="SCOPES",
            help="With --mcp: scopes to ask for beside those that the account has, such as those of an `insufficient_scope`.",
        ),
    ] = None,
    timeout_s: Annotated[
        float, typer.Option("--timeout", help="Seconds to wait for the consent.", min=1, max=3600)
    ] = _TIMEOUT_S,
    allow_shared_grant: AllowSharedGrant = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """The provider's page opens in a browser, which then returns to a port of this machine (RFC 8252, with PKCE).

    Register the redirect URI with the provider: most accept `http://127.0.0.1` with any port for desktop clients; for others name the registered one with `--redirect-uri`. An existing account keeps its settings and its generation, and is refreshed again if it needed new consent.

    `--mcp` needs nothing but the address: it reads the resource's metadata (RFC 9728) and its authorization server's, registers a client once for each server, and asks for a token of that resource alone (RFC 8707).

    Examples: `authorize notes-1 --mcp https://mcp.example.com/mcp`; `authorize acme-1 provider=google client_id=ID client_secret scope=https://www.googleapis.com/auth/drive.readonly`; `authorize acme-1`; `authorize acme-2 provider=microsoft-entra client_id=ID client_auth=none --device`.
    """
    fields = fields_of(words or [])
    taken = sorted(name for name in fields if name.strip().casefold() in _TO_COME | {"id"})
    if taken:
        raise UsageError(
            f"{taken[0]}: it comes with the consent" if taken[0] != "id" else "id: is the first word"
        )
    if client is not None:
        fields["client"] = client
    if scope is not None and mcp is None:
        raise UsageError("--scope: goes with --mcp; without it give scope=... among the fields")
    try:
        with open_services(shared_grants=allow_shared_grant) as desk:
            if mcp is not None:
                redirect_uri = _of_the_resource(
                    desk, account_id, fields, mcp, client=client, redirect_uri=redirect_uri, scope=scope
                )
            try:
                entry, request = _asked(desk, account_id, fields)
            except KeyboardInterrupt:
                err.print("Nothing was stored.")
                raise
            with Consent(desk.stores, opens_browser=browser, timeout_s=timeout_s) as consent:
                granted = _granted(consent, request, device=device, redirect_uri=redirect_uri, pastes=paste)
                issued_at = consent.issued_at
                entry.custom_fields |= consent.redirect_fields
            _check_offline(request, granted)
            entry = with_grant(entry, granted, asked_scope=scope_of(request), issued_at=issued_at)
            applied = _store(desk, entry)
    except RowRefused as refused:
        raise as_usage_error(refused) from None
    report(applied, as_json=as_json)


def _of_the_resource(
    desk: AccountServices,
    account_id: str,
    fields: dict[str, str],
    address: str,
    *,
    client: str | None,
    redirect_uri: str | None,
    scope: str | None,
) -> str | None:
    """Add what a resource's address says of its accounts to the fields; returns the redirect URI to use.

    Raises:
        Undiscovered: it leads to nothing that an account can be authorized with.
    """
    from worker.intake.resources import Address, Redirect, prepare

    redirect = Redirect(lambda: redirect_uri or free_redirect_uri())
    found = prepare(desk, Address(address), client=client, redirect=redirect)
    if found.is_new:
        err.print(
            f"registered client {found.client} with {found.issuer} ({found.redirect_uri})",
            markup=False,
            soft_wrap=True,
            style="dim",
        )
    if redirect_uri and found.redirect_uri and redirect_uri != found.redirect_uri:
        raise UsageError(
            f"--redirect-uri {redirect_uri}: client {found.client} is registered with {found.redirect_uri}; leave it out, or "
            "name another client with --client"
        )
    fields |= {
        "provider": ISSUER,
        "issuer": found.issuer,
        "resource": found.resource or address,
        "client": found.client,
        "scopes": json.dumps(found.scopes),
    }
    account = desk.accounts.find([account_id]).get(account_id)
    before = account.scope.split() if account is not None and account.scope else []
    if "scope" not in fields and (before or scope):
        # What was granted before, and what the resource lacks or asks for now: consent replaces the whole.
        fields["scope"] = " ".join(dict.fromkeys((*before, *((scope or "").split() or found.scopes))))
    return found.redirect_uri or redirect_uri


def _asked(
    desk: AccountServices, account_id: str, fields: dict[str, str]
) -> tuple[AccountEntry, RefreshRequest]:
    """Return what consent is asked with; on a terminal, ask for what is missing."""
    asked: set[str] = set()
    while True:
        entry = read_entry({"id": account_id, **fields}, cells=True, empty_takes_back=True)
        account = desk.accounts.find([entry.id]).get(entry.id)
        try:
            clients = KnownClients(lambda: desk.stores.clients)
            return entry, request_of(
                entry, account, sealer=desk.stores.sealer, checker=desk.checker, clients=clients
            )
        except RowRefused as refused:
            missing = [one.field for one in refused.problems]
            if not sys.stdin.isatty() or asked.intersection(missing):
                raise
        for name in missing:
            asked.add(name)
            fields[name] = ask(name, hidden=is_hidden(name))


def _granted(
    consent: Consent, request: RefreshRequest, *, device: bool, redirect_uri: str | None, pastes: bool
) -> TokenResponse:
    provider = request.provider
    if device and provider.device_url is None:
        raise UsageError(
            f"--device: nothing is known of where {provider.name} gives device codes (device_url)"
        )
    try:
        if device or provider.authorize_url is None:
            return consent.on_another_device(request)
        return consent.in_browser(request, redirect_uri=redirect_uri, pastes=pastes)
    except KeyboardInterrupt:
        err.print("Nothing was stored.")
        raise


def _check_offline(request: RefreshRequest, granted: TokenResponse) -> None:
    if granted.refresh_token is None and request.provider.grant is GrantType.REFRESH_TOKEN:
        raise NoConsent(
            f"{request.provider.name} gave an access token without a refresh token, and nothing was stored: "
            "most providers give one for a scope (offline_access) or a parameter (access_type=offline) alone, some only "
            "at the first consent. Set `scope` or `authorize_params`, or take the consent back at the provider first"
        )


def _store(desk: AccountServices, entry: AccountEntry) -> Applied:
    """Store the tokens as a person's word, in a new account or in the one that is there."""
    exists = bool(desk.accounts.find([entry.id]))
    return desk.editor.edit(entry, Action.AUTHORIZE) if exists else desk.editor.add(entry, Action.AUTHORIZE)
