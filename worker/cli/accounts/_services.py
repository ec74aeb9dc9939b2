"""What every `refreshd accounts` command works with, put together from the settings of its environment."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Final

import typer

from worker.accounts.publisher import NO_REDIS
from worker.accounts.twins import ALLOW_SHARED_GRANT
from worker.cli.terminal.console import err
from worker.cli.terminal.context import open_stores
from worker.intake.services import AccountServices, account_services, publisher_of

__all__ = ["AccountServices", "AllowSharedGrant", "open_services"]

AllowSharedGrant = Annotated[
    bool,
    typer.Option(
        ALLOW_SHARED_GRANT,
        help="Store a refresh token that another account of the same client has. Where refresh tokens are rotated, both "
        "then lose their grant.",
    ),
]
#: So many accounts are named.
_NAMED_MAX: Final = 5


@contextmanager
def open_services(*, shared_grants: bool = False) -> Iterator[AccountServices]:
    """Open the stores for a command that writes, and print at its end what was not published.

    Args:
        shared_grants: two accounts of one client may have the same refresh token.

    Raises:
        SettingsError, SchemaOutdated, DatabaseUnreachable: they can't be used.
    """
    with open_stores() as here, publisher_of(here) as publisher:
        yield account_services(here, publisher, here.actor, shared_grants=shared_grants, offers_used=True)
        if publisher.newer:
            names = ", ".join(sorted(publisher.newer)[:_NAMED_MAX])
            err.plain(
                f"not published: Redis has a newer generation than the database of {len(publisher.newer):,} accounts ({names}), "
                "and keeps it. Was a backup restored? Then `refreshd db restored`; a refresh publishes again",
                style="yellow",
            )
        if publisher.unpublished:
            reason = publisher.unreachable
            what = reason if reason == NO_REDIS else f"Redis does not answer ({reason})"
            err.plain(
                f"not published yet: {what}; a running worker publishes it as soon as both are there",
                style="yellow",
            )
