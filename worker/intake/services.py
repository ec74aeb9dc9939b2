"""What changes accounts: put together from the stores of a command, or of a worker that carries out a request."""

from __future__ import annotations

from dataclasses import dataclass

from models.audit import Action, Actor
from worker.accounts.apply import Applier, DueSpreader, Intent
from worker.accounts.client_changes import ClientChanges
from worker.accounts.clients import ClientEditor
from worker.accounts.configuration import KnownClients
from worker.accounts.editor import Editor
from worker.accounts.importer import Importer
from worker.accounts.publisher import CommandPublisher
from worker.accounts.twins import SameGrant
from worker.accounts.validation import AccountValidator
from worker.context import AppContext
from worker.db.accounts import Accounts
from worker.db.audit import RunningEntry
from worker.db.client_accounts import ClientAccounts
from worker.policy.rate_limits import ASSUMED_REQUESTS_PER_S
from worker.providers.request import RequestBuilder


@dataclass(frozen=True, slots=True)
class AccountServices:
    """Stores, and whoever writes to them."""

    stores: AppContext
    accounts: Accounts
    checker: AccountValidator
    applier: Applier
    publisher: CommandPublisher
    actor: Actor
    #: Compares grants, so that no two accounts share one; None: they may.
    twins: SameGrant | None

    @property
    def editor(self) -> Editor:
        return Editor(
            accounts=self.accounts,
            applier=self.applier,
            publisher=self.publisher,
            clock=self.stores.clock,
            actor=self.actor,
            twins=self.twins,
        )

    @property
    def client_editor(self) -> ClientEditor:
        here = self.stores
        changes = ClientChanges(
            accounts=self.accounts,
            client_accounts=ClientAccounts(here.engine),
            provider_of=here.providers.for_schedule,
            clock=here.clock,
            requests_per_s=here.settings.requests_per_s or ASSUMED_REQUESTS_PER_S,
        )
        return ClientEditor(
            clients=here.clients,
            changes=changes,
            sealer=here.sealer,
            checker=self.checker,
            clock=here.clock,
            actor=self.actor,
        )

    def importer(self, name: str, *, replace_tokens: bool) -> Importer:
        """Return what imports the rows of a file; the audit trail has its name."""
        return Importer(
            accounts=self.accounts,
            applier=self.applier,
            publisher=self.publisher,
            clock=self.stores.clock,
            intent=Intent.FILE_REPLACES if replace_tokens else Intent.FILE,
            entry=RunningEntry(
                self.stores.engine,
                self.actor,
                Action.IMPORT,
                {"file": name, "replace_tokens": replace_tokens}
                | ({} if self.twins is not None else {"allow_shared_grant": True}),
            ),
            twins=self.twins,
        )


def account_services(
    here: AppContext, publisher: CommandPublisher, actor: Actor, *, shared_grants: bool = False
) -> AccountServices:
    """Put together what changes accounts.

    Args:
        here: the stores.
        publisher: publishes what is stored; it is open.
        actor: whom the audit trail names.
        shared_grants: two accounts of one client may have the same refresh token.
    """
    checker = AccountValidator(
        known=here.providers.known,
        provider_of=here.providers.of,
        urls=RequestBuilder(here.settings.allow_http_hosts),
    )
    spread = DueSpreader(here.settings.requests_per_s or ASSUMED_REQUESTS_PER_S)
    return AccountServices(
        stores=here,
        accounts=Accounts(here.engine, here.settings.webhook_event_types),
        checker=checker,
        applier=Applier(
            sealer=here.sealer, checker=checker, spread=spread, clients=KnownClients(here.clients)
        ),
        publisher=publisher,
        actor=actor,
        twins=None if shared_grants else SameGrant(here.providers),
    )


def publisher_of(here: AppContext) -> CommandPublisher:
    """Return what publishes for one command or request."""
    return CommandPublisher(
        redis_url=lambda: here.settings.redis,
        keys=here.keys,
        store=here.publication_store,
        seal=here.settings.token_seal,
    )
