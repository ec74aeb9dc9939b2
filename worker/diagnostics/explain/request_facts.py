"""What the request that a worker would build for an account tells."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote_plus

from msgspec import Struct

from models.providers import ClientAuth, Provider
from models.refresh_request import RefreshRequest
from worker.context import AppContext
from worker.errors import CipherError
from worker.policy.reasons.correction import REQUEST_IMPOSSIBLE

if TYPE_CHECKING:  # tables bring the ORM, which reading an account has no use for
    from models.tables.account import Account
    from models.tables.attempt import Attempt
    from models.tables.client import Client


class RequestFacts(Struct, frozen=True):
    """The request that a worker would build."""

    #: Why a secret does not open.
    sealed_error: str | None = None
    #: Why it can't be sent.
    url_error: str | None = None
    certificate_ends_at: float | None = None
    #: Form-encoding changes the client's id or secret.
    form_encoding_matters: bool = False


def request_facts(
    here: AppContext, account: Account, client: Client | None, now: float, last: Attempt | None
) -> RequestFacts:
    """Return what is to be said of the request that a worker would build."""
    provider = here.providers.for_schedule(account)
    if provider is None or not here.has_keys:
        return RequestFacts()
    try:
        request = here.sealer.request(account, provider, client=client)
    except CipherError as error:
        return RequestFacts(sealed_error=str(error))
    matters = _form_encoding_matters(request)
    if request.refresh_token is None or not is_worth_building(account, provider, client, last):
        return RequestFacts(form_encoding_matters=matters)
    from worker.providers.request.builder import RequestBuilder
    from worker.providers.request.draft import InvalidRequest  # they bring the HTTP client and what signs
    from worker.providers.tls import certificate_ends_at

    try:
        shown = RequestBuilder(here.allow_http_hosts).build(request, now=now).certificate
    except InvalidRequest as error:
        return RequestFacts(url_error=str(error), form_encoding_matters=matters)
    ends_at = None if shown is None else certificate_ends_at(shown.certificate)
    return RequestFacts(certificate_ends_at=ends_at, form_encoding_matters=matters)


def is_worth_building(
    account: Account, provider: Provider, client: Client | None, last: Attempt | None
) -> bool:
    """Return whether a request would tell more than the last call has told, which was sent as the account is configured now."""
    if last is None or last.reason == REQUEST_IMPOSSIBLE or provider.dpop is not None:
        return True
    if last.config_version != account.config_version:
        return True
    chosen = account.client_auth or (client.client_auth if client is not None else None)
    return ClientAuth.MTLS in {chosen, provider.client_auth}


def _form_encoding_matters(request: RefreshRequest) -> bool:
    secret = request.client_secret.reveal() if request.client_secret else ""
    return any(quote_plus(half) != half for half in (request.client_id or "", secret))
