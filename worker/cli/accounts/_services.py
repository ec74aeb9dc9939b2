"""What every `refreshd accounts` command works with, put together from the settings of its environment."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Final

import typer

from models.audit import Action
from worker.accounts.apply import Applier, DueSpreader, Intent
from worker.accounts.editor import Editor
from worker.accounts.importer import Importer
from worker.accounts.publisher import NO_REDIS, CommandPublisher
from worker.accounts.twins import ALLOW_SHARED_GRANT, SameGrant
from worker.accounts.validation import AccountValidator
from worker.cli.terminal.console import err
from worker.cli.terminal.context import open_stores
from worker.context import AppContext
from worker.db.accounts import Accounts
from worker.db.audit import RunningEntry
from worker.policy.rate_limits import ASSUMED_REQUESTS_PER_S
from worker.providers.request import RequestBuilder

if TYPE_CHECKING:
    from worker.providers.client import ProviderClient

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


@dataclass(frozen=True, slots=True)
class AccountServices:
    """Stores, and the services that write to them."""

    stores: AppContext
    accounts: Accounts
    checker: AccountValidator
    applier: Applier
    publisher: CommandPublisher
    #: Compares grants, so that no two accounts share one; None: they may.
    twins: SameGrant | None

    @property
    def editor(self) -> Editor:
        return Editor(
            accounts=self.accounts,
            applier=self.applier,
            publisher=self.publisher,
            clock=self.stores.clock,
            actor=self.stores.actor,
            twins=self.twins,
        )

    def importer(self, name: str, *, replace_tokens: bool) -> Importer:
        return Importer(
            accounts=self.accounts,
            applier=self.applier,
            publisher=self.publisher,
            clock=self.stores.clock,
            intent=Intent.FILE_REPLACES if replace_tokens else Intent.FILE,
            entry=RunningEntry(
                self.stores.engine,
                self.stores.actor,
                Action.IMPORT,
                {"file": name, "replace_tokens": replace_tokens}
                | ({} if self.twins is not None else {"allow_shared_grant": True}),
            ),
            twins=self.twins,
        )


@contextmanager
def open_services(*, shared_grants: bool = False) -> Iterator[AccountServices]:
    """Open the stores for a command that writes, and print at its end what was not published.

    Args:
        shared_grants: two accounts of one client may have the same refresh token.

    Raises:
        SettingsError, SchemaOutdated, DatabaseUnreachable: they can't be used.
    """
    with open_stores() as here, _publisher(here) as publisher:
        checker = AccountValidator(
            known=here.providers.known,
            provider_of=here.providers.of,
            urls=RequestBuilder(here.allow_http_hosts),
        )
        spread = DueSpreader(here.settings.requests_per_s or ASSUMED_REQUESTS_PER_S)
        applier = Applier(sealer=here.sealer, checker=checker, spread=spread)
        twins = None if shared_grants else SameGrant(here.providers)
        yield AccountServices(
            here, Accounts(here.engine, here.settings.webhook_event_types), checker, applier, publisher, twins
        )
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


def provider_client(here: AppContext) -> ProviderClient:
    """Return a client for a call that a command makes itself."""
    # It brings a TLS library and an event loop, which most commands have no use for.
    from worker.providers.client import ProviderClient
    from worker.providers.egress import Egress

    return ProviderClient(
        ca_file=here.settings.ca_file,
        allow_http_hosts=here.allow_http_hosts,
        egress=Egress.of(here.settings),
        now=here.clock.now,
    )


def _publisher(here: AppContext) -> CommandPublisher:
    return CommandPublisher(
        redis_url=lambda: here.settings.redis,
        keys=here.keys,
        store=here.publication_store,
        seal=here.settings.token_seal,
    )
