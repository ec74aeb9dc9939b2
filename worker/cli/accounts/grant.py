"""`refreshd accounts grant`: the account's owner consented again, and what came of it takes the stored grant's place."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from models.tables.account import Account
from worker.accounts.entry import RowRefused
from worker.accounts.grants.replacement import Grant, Moved, StoredGrant, read_grant
from worker.accounts.grants.verification import Verifier
from worker.cli.accounts._services import AccountServices, AllowSharedGrant, open_services
from worker.cli.accounts.edit import as_usage_error
from worker.cli.terminal.console import ago_or_in, out, print_json
from worker.cli.terminal.prompts import ask
from worker.errors import DatabaseUnreachable, UsageError
from worker.intake.parked_grants import park, words_of
from worker.intake.services import provider_client

_STDIN: Final = Path("-")
#: No token response is longer.
_MAX_BYTES: Final = 1 << 20


def grant(
    account_id: Annotated[str, typer.Argument(metavar="ID", help="The account's id.")],
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="The provider's token response, JSON; - reads standard input."),
    ] = _STDIN,
    prompt: Annotated[
        bool, typer.Option("--prompt", help="Ask for the tokens, unseen, instead of reading JSON.")
    ] = False,
    verify: Annotated[
        bool,
        typer.Option(
            "--verify", help="Refresh once first; where that fails nothing is stored (exit code 2)."
        ),
    ] = False,
    allow_shared_grant: AllowSharedGrant = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """A new grant replaces the stored one, ends `reauthorize`, clears old refusals, and is published at once.

    Fields: access_token, refresh_token, token_type, scope, expires_in, expires_at, issued_at (default: now), refresh_token_expires_in. Others of a token response are not looked at, but for those that the provider's `publish_fields` names.

    Examples: `grant acme-1 token.json`; `curl ... | refreshd accounts grant acme-1`; `grant acme-1 --prompt --verify`.
    """
    fields = _asked() if prompt else _read(file)
    try:
        with open_services(shared_grants=allow_shared_grant) as desk:
            given = read_grant(
                account_id,
                fields,
                actor=desk.actor,
                allow_shared=allow_shared_grant,
                consented_at=desk.stores.clock.now(),
            )
            stored = _tried_and_stored(desk, given) if verify else desk.grants.store_one(given)
            desk.publisher.put([stored.publication], stored.events)
            published = not desk.publisher.unreachable and account_id not in desk.publisher.newer
    except RowRefused as refused:
        raise as_usage_error(refused) from None
    _report(stored, published=published, as_json=as_json)


def _read(file: Path) -> dict[str, Any]:
    if file == _STDIN and sys.stdin.isatty():
        raise UsageError("no token response: give FILE, pipe JSON into standard input, or use --prompt")
    name = "standard input" if file == _STDIN else str(file)
    try:
        text = sys.stdin.read(_MAX_BYTES + 1) if file == _STDIN else file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is not UTF-8 text"
        raise UsageError(f"{name}: {reason}") from None
    if len(text) > _MAX_BYTES:
        raise UsageError(f"{name}: longer than {_MAX_BYTES:,} characters, more than any token response")
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict):
        raise UsageError(
            f'{name}: not a token response; expected a JSON object such as {{"access_token": "..."}}'
        )
    return fields


def _asked() -> dict[str, Any]:
    if not sys.stdin.isatty():
        raise UsageError("--prompt: there is no terminal to ask on; pipe JSON into standard input")
    asked = {name: ask(name, hidden=True, optional=True) for name in ("access_token", "refresh_token")}
    lifetime = ask("expires_in", optional=True)
    return {name: value for name, value in {**asked, "expires_in": lifetime}.items() if value}


def _tried_and_stored(desk: AccountServices, given: Grant) -> StoredGrant:
    """Refresh a grant once, and store what comes of it; one that was stored already is not sent again.

    Where the database does not take what came of it, that waits in Redis.

    Raises:
        Unverified: it does not refresh.
        DatabaseUnreachable: it refreshes, and is not stored.
    """
    here = desk.stores
    account, at = desk.editor.account(given.account), here.clock.now()
    if (stored := desk.grants.check(given)) is not None:
        return stored
    with desk.trial(given, account):
        tried = asyncio.run(_tried(desk, given, account))
        try:
            return desk.grants.store_one(tried)
        except (DatabaseUnreachable, Moved) as error:
            parked = park(here, tried, account, sent=given.tokens.refresh_token, at=at)
            raise DatabaseUnreachable(words_of(account.id, error, parked=parked)) from None


async def _tried(desk: AccountServices, given: Grant, account: Account) -> Grant:
    """Return a grant as one refresh leaves it."""
    here = desk.stores
    client = provider_client(here)
    try:
        return await Verifier(
            sealer=here.sealer,
            checker=desk.checker,
            client_of=here.clients.of,
            client=client,
            now=here.clock.now,
            call_timeout_s=here.settings.call_timeout_s,
        ).verify(given, account)
    finally:
        await client.aclose()


def _report(stored: StoredGrant, *, published: bool, as_json: bool) -> None:
    if as_json:
        print_json(stored.as_json(published=published))
        return
    account = stored.account
    planned = (
        "" if account.next_refresh_at is None else f", next refresh {ago_or_in(account.next_refresh_at)}"
    )
    out.plain(
        f"{account.id}: {stored.outcome.value}, generation {account.generation}; {account.status}{planned}"
    )
