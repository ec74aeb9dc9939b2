"""A session is opened: everything that can be wrong with it is found now, where the platform hears of it.

The page that the customer's browser will be sent to is put together here. What is stored of it is what any browser
would see; custom fields are sealed for workers.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Final, Protocol

from msgspec import Struct

from models.label import LABELS_MAX, check_label, read_labels, write_labels
from models.providers import WITH_CONSENT, Provider
from models.refresh_request import RefreshRequest
from models.tables.account import Account
from models.tables.client import Client
from models.tables.connect_session import ConnectSession
from models.token import Secret
from refreshd_reader.contract import ACCOUNT_ID
from worker.accounts.entry import Problem, RowRefused, read_entry
from worker.accounts.return_urls import admits, problem_of
from worker.connect.browser_key import new_session_id
from worker.connect.redirect import SessionPage
from worker.db.accounts.stored import blank
from worker.db.intake.connect_sessions import ConnectSessions
from worker.db.intake.connectable import Connectable
from worker.errors import KnobsUnfit
from worker.providers.authorization import consent_page
from worker.providers.discovery.client_document import CALLBACK_PATH
from worker.providers.registry import ISSUER
from worker.providers.request.draft import InvalidRequest

#: Long enough to read a page and log in; a session that is open longer is longer in the hands of whoever has its URL.
EXPIRES_S: Final = 900
EXPIRES_MIN_S: Final = 60
#: For links that are sent to a customer.
EXPIRES_MAX_S: Final = 86_400
#: What a session's custom fields are sealed under: no field of an account has this name.
SEALED_AS: Final = "connect_custom_fields"
NOTHING_FOUND: Final[Mapping[str, Any]] = MappingProxyType({})
#: What of it is the account's.
_KNOBS: Final = ("issuer", "resource", "scopes")


class Seals(Protocol):
    """Seals for workers, as `IntakeSealer` does."""

    def seal(self, secret: Secret, *, account: str, field: str) -> str: ...


class ProviderOf(Protocol):
    """Gives an account's provider with the account's own knobs, as `Providers.of` does."""

    def __call__(self, account: Account) -> Provider | None: ...


class AccountHidden(Exception):
    """The account exists, and whoever asks may not see it."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a platform asks for."""

    account: str
    return_url: str
    #: None: the account's own, or one that a worker finds by the resource or the issuer.
    client: str | None = None
    provider: str | None = None
    #: A protected resource, such as an MCP server, or an authorization server, by its address.
    resource: str | None = None
    issuer: str | None = None
    scope: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    custom_fields: Mapping[str, str] = field(default_factory=dict, repr=False)
    expires_in_s: float = EXPIRES_S

    @property
    def has_address(self) -> bool:
        """Return whether an address stands in the place of a client, or beside it."""
        return self.resource is not None or self.issuer is not None


class Opener(Struct, frozen=True):
    """Opens sessions.

    Args:
        connectable: accounts and clients, without their secrets.
        sessions: where sessions are kept.
        provider_of: an account's provider.
        check: raises `InvalidRequest` for a URL (and its field) to which no person should be sent.
        sealer: seals custom fields for workers; None: there are no keys to seal to.
        now: epoch seconds.
        url: where browsers reach this process (REFRESHD_API_URL).
        return_urls: where sessions of every client may send a browser back to, beside the client's own.
    """

    connectable: Connectable
    sessions: ConnectSessions
    provider_of: ProviderOf
    check: Callable[[str, str], object]
    sealer: Seals | None
    now: Callable[[], float]
    url: str
    return_urls: Sequence[str] = ()

    def precheck(self, wanted: Wanted, *, require_labels: Mapping[str, str]) -> None:
        """Check what can be checked of a wish before a worker looks for its authorization server; raises as `open` does.

        Of a wish that leads nowhere in the end nobody is asked, and no client is registered.
        """
        self._account(wanted, require_labels)
        if not wanted.has_address:
            return
        named = None if wanted.client is None else self._client(wanted, None, NOTHING_FOUND)
        if problem := _return_problem(wanted, named, self.return_urls):
            raise RowRefused([problem])

    def open(
        self,
        wanted: Wanted,
        *,
        actor: str,
        require_labels: Mapping[str, str],
        found: Mapping[str, Any] = NOTHING_FOUND,
    ) -> ConnectSession:
        """Open a session.

        Args:
            wanted: what for.
            actor: the API key's name, for the audit trail.
            require_labels: the key's: it sees accounts that have them, and what it creates gets them.
            found: what a worker found by the resource or the issuer: `client`, `issuer`, `resource`, `scopes`.

        Raises:
            RowRefused: with everything that is wrong, by field.
            AccountHidden: there is such an account, of other labels.
        """
        account = self._account(wanted, require_labels)
        client = self._client(wanted, account, found)
        problems = _fitting_problems(wanted, client, account, self.return_urls)
        if problems:
            raise RowRefused(problems)
        knobs = {name: found[name] for name in _KNOBS if found.get(name)}
        if client.issuer is not None:
            knobs["issuer"] = client.issuer
        scope = _scope(wanted, account, found)
        redirect_uri = f"{self.url}{CALLBACK_PATH}"
        page = self._page(replace(wanted, scope=scope), client, account, redirect_uri, knobs)
        session = ConnectSession(
            id=new_session_id(),
            account=wanted.account,
            provider=client.provider,
            client=client.name,
            scope=scope,
            labels=write_labels({**wanted.labels, **require_labels}),
            key_labels=write_labels(require_labels),
            custom_fields_sealed=self._sealed(wanted),
            return_url=wanted.return_url,
            redirect_uri=redirect_uri,
            page=page.to_text(),
            actor=actor,
        )
        return self.sessions.add(session, for_s=wanted.expires_in_s)

    def _account(self, wanted: Wanted, require_labels: Mapping[str, str]) -> Account | None:
        """Return the account of a wish that is right by itself, None where it is new."""
        problems = _own_problems(wanted, {**wanted.labels, **require_labels})
        if problems:
            raise RowRefused(problems)
        account = self.connectable.account(wanted.account)
        if account is not None and not require_labels.items() <= read_labels(account.labels).items():
            raise AccountHidden
        return account

    def _client(self, wanted: Wanted, account: Account | None, found: Mapping[str, Any]) -> Client:
        name = found.get("client") or wanted.client or (account.client if account is not None else None)
        if name is None:
            raise RowRefused([Problem("client", "is missing: name a client, a `resource` or an `issuer`")])
        client = self.connectable.client(name)
        if client is None:
            raise RowRefused([Problem("client", "there is no client of this name")])
        return client

    def _page(
        self,
        wanted: Wanted,
        client: Client,
        account: Account | None,
        redirect_uri: str,
        knobs: Mapping[str, Any],
    ) -> SessionPage:
        known = account or blank(wanted.account, provider=client.provider)
        own_url = known.token_url or client.token_url
        if knobs or own_url != known.token_url:
            both = json.dumps({**json.loads(known.knobs), **knobs})
            columns = {"knobs": both, "token_url": own_url, "callback": known.callback}
            given = {name: value for name, value in columns.items() if value is not None}
            known = blank(known.id, provider=known.provider, **given)
        provider = self._provider(known)
        token_url = known.token_url or provider.token_url
        request = RefreshRequest(
            account_id=wanted.account,
            provider=provider,
            client_id=client.client_id,
            token_url=token_url,
            server_url=account.server_url if account is not None else None,
            scope=wanted.scope or (account.scope if account is not None else None),
            custom_fields={name: Secret(value) for name, value in wanted.custom_fields.items()},
        )
        try:
            page = consent_page(request, redirect_uri, check=self.check, now=self.now())
        except InvalidRequest as error:
            raise RowRefused([_problem_of_request(str(error))]) from None
        return SessionPage.of(page, provider, token_url, knobs=knobs)

    def _provider(self, account: Account) -> Provider:
        try:
            provider = self.provider_of(account)
        except KnobsUnfit as error:
            raise RowRefused([Problem("provider", str(error))]) from None
        if provider is None:
            raise RowRefused([Problem("provider", f"nothing is known of {account.provider!r}")])
        if provider.grant not in WITH_CONSENT:
            raise RowRefused(
                [
                    Problem(
                        "provider", f"{provider.name} asks nobody for consent: its grant is {provider.grant}"
                    )
                ]
            )
        if provider.authorize_url is None:
            raise RowRefused(
                [
                    Problem(
                        "provider",
                        f"nothing is known of where {provider.name} asks for consent; set `authorize_url` of it in "
                        "REFRESHD_PROVIDERS_FILE",
                    )
                ]
            )
        return provider

    def _sealed(self, wanted: Wanted) -> str | None:
        if not wanted.custom_fields:
            return None
        if self.sealer is None:
            raise RowRefused(
                [Problem("custom_fields", "can't be sealed here: REFRESHD_INTAKE_KEY is not set")]
            )
        plain = json.dumps(dict(wanted.custom_fields))
        return self.sealer.seal(Secret(plain), account=wanted.account, field=SEALED_AS)


def _own_problems(wanted: Wanted, labels: Mapping[str, str]) -> list[Problem]:
    """Return what is wrong with a wish by itself, in the words of an import."""
    problems: list[Problem] = []
    row: dict[str, object] = {"id": wanted.account, "provider": wanted.provider, "scope": wanted.scope}
    row |= {"issuer": wanted.issuer, "resource": wanted.resource}
    try:
        read_entry({**row, "custom_fields": dict(wanted.custom_fields)})
    except RowRefused as refused:
        problems += [
            Problem("account" if one.field == "id" else one.field, one.reason) for one in refused.problems
        ]
    if len(labels) > LABELS_MAX:
        problems.append(Problem("labels", f"an account has {LABELS_MAX} labels at most"))
    for name, value in labels.items():
        try:
            check_label(name, value)
        except ValueError as error:
            problems.append(Problem("labels", str(error)))
    if wanted.issuer is not None and wanted.resource is not None:
        problems.append(Problem("issuer", "is what a `resource` names; give one of them"))
    if wanted.client is not None and not ACCOUNT_ID.fullmatch(wanted.client):
        problems.append(Problem("client", "a client's name is 1 to 128 letters, digits and ._:@-"))
    reason = problem_of(wanted.return_url)
    if reason is not None:
        problems.append(Problem("return_url", reason))
    if not EXPIRES_MIN_S <= wanted.expires_in_s <= EXPIRES_MAX_S:
        problems.append(Problem("expires_in_s", f"expected {EXPIRES_MIN_S} to {EXPIRES_MAX_S} seconds"))
    return problems


def _scope(wanted: Wanted, account: Account | None, found: Mapping[str, Any]) -> str | None:
    """Return what consent is asked for; None: as the account or the provider says.

    Of an issuer's account, what was granted before is asked for as well: a consent replaces the whole, and a resource names
    what it lacks (`insufficient_scope`), or what it needs now.
    """
    asked = (wanted.scope or "").split() or found.get("scopes") or ()
    if account is None or account.provider != ISSUER or not account.scope or not asked:
        return wanted.scope
    return " ".join(dict.fromkeys((*account.scope.split(), *asked)))


def _fitting_problems(
    wanted: Wanted, client: Client, account: Account | None, return_urls: Sequence[str]
) -> list[Problem]:
    """Return what does not fit together: the client, the account that is there, and where to go back to."""
    problems: list[Problem] = []
    if wanted.provider is not None and wanted.provider != client.provider:
        problems.append(Problem("provider", f"client {client.name} is one of {client.provider}"))
    if account is not None and account.provider != client.provider:
        problems.append(
            Problem("account", f"is one of {account.provider}, and client {client.name} of {client.provider}")
        )
    if not client.client_id:
        problems.append(Problem("client", f"{client.name} has no client_id"))
    named = client if wanted.client is not None or not wanted.has_address else None
    if problem := _return_problem(wanted, named, return_urls):
        problems.append(problem)
    return problems


def _return_problem(wanted: Wanted, client: Client | None, return_urls: Sequence[str]) -> Problem | None:
    """Return what is wrong with where to go back to; without a client (an address finds one) the setting alone allows it."""
    if admits([*(client.urls if client is not None else ()), *return_urls], wanted.return_url):
        return None
    if client is None:
        reason = (
            "is not allowed: with `resource` or `issuer` it has to be named in REFRESHD_CONNECT_RETURN_URLS"
        )
    else:
        reason = (
            f"client {client.name} does not allow it: name it in `return_urls` of the client, or in "
            "REFRESHD_CONNECT_RETURN_URLS for all of them"
        )
    return Problem("return_url", reason)


def _problem_of_request(text: str) -> Problem:
    field_name, colon, reason = text.partition(": ")
    if not colon or " " in field_name:
        field_name, reason = "provider", text
    return Problem(field_name, f"{reason}; custom fields that the consent page needs come with the session")
