"""`refreshd token`: one account's access token, as it is stored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import typer

from models.token import Secret
from worker.cli.terminal.console import ago_or_in, err, out, print_json
from worker.cli.terminal.context import accounts_of, open_stores
from worker.context import AppContext
from worker.crypto.sealer import ACCESS_TOKEN
from worker.errors import RefreshdError

if TYPE_CHECKING:  # tables bring the ORM, which reading an account has no use for
    from models.tables.account import Account

#: Of a secret this long, eight characters tell which it is and nothing more.
_TELLING_LENGTH: Final = 24


class NoToken(RefreshdError):
    """The account has no access token yet."""


def token(
    account: Annotated[str, typer.Argument(help="The account's id.", metavar="ACCOUNT")],
    reveal: Annotated[bool, typer.Option("--reveal", help="Show the token itself.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    with open_stores() as here:
        found, now, secret = _stored(here, account)
        if reveal:  # written first: what can't be written down is not shown
            from models.act import Act, Action

            detail = {"generation": found.generation}
            here.audit.record(here.actor, Act(Action.REVEAL, account, found.provider, detail))
    shown = secret.reveal() if reveal else mask(secret)
    if as_json:
        print_json(
            {
                "account": found.id,
                "generation": found.generation,
                "expires_at": found.expires_at,
                "access_token": shown,
            }
        )
        return
    ended = found.expires_at is not None and found.expires_at <= now
    out.plain(shown)
    end = (
        "no known end"
        if found.expires_at is None
        else f"{'ended' if ended else 'ends'} {ago_or_in(found.expires_at, now=now)}"
    )
    hint = "" if reveal else "; --reveal shows it"
    err.plain(f"generation {found.generation}, {found.token_type}, {end}{hint}", style="dim")


def _stored(here: AppContext, account_id: str) -> tuple[Account, float, Secret]:
    """Return the account, the database's clock, and the access token."""
    (found,) = accounts_of(here, [account_id])
    secret = here.sealer.open(found, ACCESS_TOKEN)
    if secret is None:
        raise NoToken(
            f"account {account_id} has no access token yet (status {found.status}): "
            f"`refreshd refresh {account_id} --force --wait` fetches one and says what comes back"
        )
    return found, here.clock.now(), secret


def mask(secret: Secret) -> str:
    """Return a secret's first and last characters where it is long enough that these say nothing."""
    text = secret.reveal()
    return (
        f"{text[:4]}...{text[-4:]} ({len(text)} characters)"
        if len(text) >= _TELLING_LENGTH
        else f"******** ({len(text)} characters)"
    )
