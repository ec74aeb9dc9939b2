"""What changes accounts: put together from the stores of a command, or of a worker that carries out a request."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from models.act import Action, Actor
from models.providers import Provider
from worker.accounts.apply import Applier, DueSpreader, Intent
from worker.accounts.authority import EVERY_ACCOUNT
from worker.accounts.configuration import KnownClients
from worker.accounts.editor import Editor
from worker.accounts.entry import Problem, RowRefused
from worker.accounts.publisher import CommandPublisher, RunsOnLoop
from worker.accounts.twins import SameGrant
from worker.accounts.unsealed import UnsealedAccount
from worker.accounts.validation import AccountValidator, key_problems
from worker.context import AppContext
from worker.db.accounts.provider_names import providers_in_use
from worker.db.accounts.stored import Accounts
from worker.errors import RefreshdError, SettingsError
from worker.policy.rate_limits import ASSUMED_REQUESTS_PER_S
from worker.providers.registry import is_unread
from worker.providers.request.builder import RequestBuilder

if TYPE_CHECKING:  # a command loads the services that it uses
    from redis.asyncio import Redis

    from models.refresh_request import RefreshRequest
    from models.tables.account import Account
    from worker.accounts.clients.editor import ClientEditor
    from worker.accounts.grants.replacement import Grant, GrantStore
    from worker.accounts.grants.revoker import Revoker
    from worker.accounts.importer import Importer
    from worker.providers.client import ProviderClient


class AccountServices(Struct, frozen=True):
    """Stores, and the services that write to them."""

    stores: AppContext
    accounts: Accounts
    checker: AccountValidator
    applier: Applier
    publisher: CommandPublisher
    actor: Actor
    #: Compares grants, so that no two accounts share one; None: they may.
    twins: SameGrant | None
    #: Accounts without these labels are as if they were not there.
    require_labels: Mapping[str, str]

    @property
    def editor(self) -> Editor:
        return Editor(
            accounts=self.accounts,
            applier=self.applier,
            publisher=self.publisher,
            clock=self.stores.clock,
            actor=self.actor,
            twins=self.twins,
            require_labels=self.require_labels,
        )

    @property
    def grants(self) -> GrantStore:
        from worker.accounts.grants.replacement import GrantStore

        here = self.stores
        return GrantStore(
            engine=here.engine,
            sealer=here.sealer,
            providers=here.providers,
            clock=here.clock,
            told=here.settings.webhook_event_types,
            check_key=self._check_key,
        )

    def _check_key(self, account: Account, grant: Grant) -> Sequence[Problem]:
        """Return what is wrong with a grant that is bound to a key: its token is another key's, say."""
        stored = self.accounts.find([account.id]).get(account.id)
        provider = None if stored is None else self.stores.providers.for_schedule(stored)
        if stored is None or provider is None:
            return []
        request = UnsealedAccount(stored, self.stores.sealer, self.stores.clients.of(stored)).request(
            provider
        )
        return key_problems(replace(request, access_token=grant.tokens.access_token or None))

    @property
    def client_editor(self) -> ClientEditor:
        from worker.accounts.clients.changes import ClientChanges
        from worker.accounts.clients.editor import ClientEditor
        from worker.db.accounts.of_client import ClientAccounts

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

    def importer(self, name: str, *, replace_tokens: bool, keep_results: bool = False) -> Importer:
        """Return what imports the rows of a file; the audit trail has its name."""
        from worker.accounts.importer import Importer
        from worker.db.records.acts import RunningEntry

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
            require_labels=self.require_labels,
            keep_results=keep_results,
        )

    def trial(self, grant: Grant, account: Account) -> AbstractContextManager[None]:
        """Hold an account while a grant is tried (`worker/accounts/grants/trial.py`)."""
        from worker.accounts.grants.trial import trial
        from worker.redis.client import in_words

        def has_stash(account_id: str) -> bool:
            try:
                url = self.stores.settings.redis
            except SettingsError:  # no Redis was ever there
                return False
            with in_words(url):
                return self._has_stash(account_id)

        claim_s = self.stores.settings.claim_seconds
        return trial(self.accounts, account, grant, claim_s=claim_s, has_stash=has_stash)

    def _has_stash(self, account_id: str) -> bool:
        here = self.stores
        try:
            return bool(here.redis.exists(here.keys.stash(account_id)))
        except SettingsError:  # no Redis was ever there
            return False

    def revoker(
        self, slot: Callable[[RefreshRequest], AbstractContextManager[None]] = lambda _: nullcontext()
    ) -> Revoker:
        """Return what ends grants at their providers; each call is made while it holds what `slot` gives."""
        # It brings the HTTP client, which most commands have no use for.
        from worker.accounts.grants.revoker import Revoker

        here = self.stores
        return Revoker(
            accounts=self.accounts,
            sealer=here.sealer,
            provider_of=here.providers.of,
            client_of=here.clients.of,
            client=provider_client(here),
            slot=slot,
            clock=here.clock,
            has_stash=self._has_stash,
            call_timeout_s=here.settings.call_timeout_s,
            claim_s=here.settings.claim_seconds,
        )


def account_services(
    here: AppContext,
    publisher: CommandPublisher,
    actor: Actor,
    *,
    shared_grants: bool = False,
    require_labels: Mapping[str, str] = EVERY_ACCOUNT,
    offers_used: bool = False,
) -> AccountServices:
    """Put together what changes accounts.

    Args:
        here: the stores.
        publisher: publishes what is stored; it is open.
        actor: whom the audit trail names.
        shared_grants: two accounts of one client may have the same refresh token.
        require_labels: accounts without them are as if they were not there.
        offers_used: names of providers that any account has may be offered for one that is not known.
    """
    checker = AccountValidator(
        known=here.providers.known,
        provider_of=_reading_issuers(here),
        urls=RequestBuilder(here.allow_http_hosts),
        in_use=(lambda: providers_in_use(here.engine)) if offers_used else tuple,
    )
    spread = DueSpreader(here.settings.requests_per_s or ASSUMED_REQUESTS_PER_S)
    return AccountServices(
        stores=here,
        accounts=Accounts(here.engine, here.settings.webhook_event_types),
        checker=checker,
        applier=Applier(
            sealer=here.sealer, checker=checker, spread=spread, clients=KnownClients(lambda: here.clients)
        ),
        publisher=publisher,
        actor=actor,
        twins=None if shared_grants else SameGrant(here.providers),
        require_labels=require_labels,
    )


def provider_client(here: AppContext) -> ProviderClient:
    """Return a client for the calls of one command or request."""
    # It brings a TLS library and an event loop, which most commands have no use for.
    from worker.providers.client import ProviderClient
    from worker.providers.egress import Egress

    return ProviderClient(
        ca_file=here.settings.ca_file,
        allow_http_hosts=here.allow_http_hosts,
        egress=Egress.of(here.settings),
        now=here.clock.now,
    )


def _reading_issuers(here: AppContext) -> Callable[[Account], Provider | None]:
    """Return what finds an account's provider; metadata of an issuer that were never read are read then, once."""
    refused: dict[str, Problem] = {}

    def provider_of(account: Account) -> Provider | None:
        found = here.providers.of(account)
        if found is None or not is_unread(found) or found.issuer is None or account.token_url:
            return found
        if found.issuer not in refused:
            from worker.intake.issuer_metadata import (
                read_issuer,  # with it comes the client that reads metadata
            )

            try:
                asyncio.run(read_issuer(here, found.issuer))
                return here.providers.of(account)
            except RefreshdError as error:
                refused[found.issuer] = Problem(
                    "issuer", "; ".join(str(error).splitlines()), code=_name_of(error)
                )
        raise RowRefused([refused[found.issuer]])

    return provider_of


def _name_of(error: RefreshdError) -> str | None:
    from worker.intake.issuer_metadata import Undiscovered

    return error.reason if isinstance(error, Undiscovered) else None


def publisher_of(here: AppContext, loop: tuple[RunsOnLoop, Redis] | None = None) -> CommandPublisher:
    """Return what publishes for one command, or for a request on a worker's event loop."""
    return CommandPublisher(
        redis_url=lambda: here.settings.redis,
        keys=here.keys,
        store=here.publication_store,
        seal=here.settings.token_seal,
        loop=loop,
    )
