"""From an account and its provider to the HTTP request that this provider wants."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import Final
from urllib.parse import quote_plus, unquote_plus

import httpx
from msgspec import Struct

from models.account_state import RefreshMethod
from models.providers import ClientAuth, GrantType, ParamsIn, Provider
from models.providers.assertion import SigningAlgorithm
from models.providers.template import Template, TemplateError, parse
from models.refresh_request import RefreshRequest, SharedClient
from models.token import Secret, TokenResponse
from worker.providers.request.assertions import sign
from worker.providers.request.client_auth import authenticate
from worker.providers.request.dpop import HEADER as DPOP
from worker.providers.request.dpop import Nonces, Proof, check_key, prove
from worker.providers.request.draft import (
    ClientCertificate,
    HostNotAllowed,
    InvalidRequest,
    RequestDraft,
    require,
)
from worker.providers.wire import Target

_JWT_BEARER: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"  # RFC 7523 section 2.1
_FORM: Final = "application/x-www-form-urlencoded"
_HEADER_VALUE: Final = re.compile(r"[\t\x20-\x7e]*")
#: What form encoding leaves as it is: nearly every token, id and secret.
_UNRESERVED: Final = re.compile(r"[A-Za-z0-9_.~-]*")
#: A name (IDNA form) or an IPv4 or IPv6 address.
_HOST: Final = re.compile(rb"[A-Za-z0-9._-]+|[0-9A-Fa-f:.]+")
_PORT_MAX: Final = 65_535
_HEADERS: Final = {"accept": "application/json", "accept-encoding": "gzip, deflate", "user-agent": "refreshd"}
#: So many checked URLs are remembered: accounts with a token_url of their own mostly share it.
_URLS_REMEMBERED: Final = 4096


class WireRequest(Struct, frozen=True):
    """A request that is ready to be sent; `shown` is what it is without any of its values."""

    method: str
    target: Target
    headers: Mapping[str, str]
    content: bytes
    shown: str
    certificate: ClientCertificate | None = None
    proof: Proof | None = None

    @property
    def http(self) -> httpx.Request:
        """Return the request as httpx' class, for whoever looks at it."""
        return httpx.Request(self.method, self.target.url, headers=self.headers, content=self.content)


class RequestBuilder:
    """Builds requests; knows which hosts may be asked by plain http, and the nonces that servers gave."""

    def __init__(self, allow_http_hosts: Collection[str]) -> None:
        self._http_hosts = frozenset(host.strip("[]").casefold() for host in allow_http_hosts)
        self._checked: dict[str, Target] = {}
        self.nonces = Nonces()

    def build(self, request: RefreshRequest, *, now: float) -> WireRequest:
        """Return the request. `now` is epoch seconds.

        Raises:
            InvalidRequest: something that the provider needs is missing or unfit; the message holds no value.
        """
        check_key(request)
        draft = _draft(request, now)
        provider = request.provider
        in_query = (
            provider.params_in is ParamsIn.QUERY
            or provider.method == "GET"
            or request.refresh_method is RefreshMethod.URL_QUERY
        )
        query = {name: draft.text(template) for name, template in provider.query.items()}
        content = b""
        if in_query:
            query = {**query, **_flat(draft.params)}
        elif provider.params_in is ParamsIn.JSON:
            content = json.dumps(draft.params).encode()
            draft.headers.setdefault("content-type", "application/json")
        else:
            content = _form(_flat(draft.params)).encode()
        if provider.method == "POST":
            draft.headers.setdefault("content-type", _FORM)
        target = self._target(draft.url, fixed=draft.url_is_fixed, query=query)
        self._admit(target.host, provider, request.shared_client)
        where = "query" if in_query else provider.params_in.value
        shown = f"{provider.method} {draft.url_shown} {where}({', '.join(draft.params)})"
        proof = prove(request, provider.method, target.url, nonces=self.nonces, now=now)
        if proof is not None:
            draft.headers[DPOP] = proof.text
            shown += f" dpop({'' if proof.nonce is None else 'nonce, '}key {proof.thumbprint})"
        headers = _checked_headers(draft)
        return WireRequest(provider.method, target, headers, content, shown, draft.certificate, proof)

    def _target(self, text: str, *, fixed: bool, query: Mapping[str, str]) -> Target:
        if query:
            return Target.of(self.check(with_query(text, query)))
        if not fixed:
            return Target.of(self.check(text))
        target = self._checked.get(text)
        if target is None:
            if len(self._checked) >= _URLS_REMEMBERED:
                self._checked.clear()
            target = self._checked[text] = Target.of(self.check(text))
        return target

    def check_token_url(self, text: str, provider: Provider, client: SharedClient | None = None) -> httpx.URL:
        """Return a URL that this provider's credentials may go to.

        Args:
            text: the URL.
            provider: with the hosts that they may go to.
            client: the shared client whose credentials they are, for the message.

        Raises:
            InvalidRequest: it is none.
        """
        url = self.check(text)
        self._admit(url.raw_host.decode("ascii"), provider, client)
        return url

    def _admit(self, host: str, provider: Provider, client: SharedClient | None) -> None:
        """Raise unless a URL's host is named by the provider's data, or by REFRESHD_ALLOW_HTTP_HOSTS."""
        hosts = provider.allowed_hosts
        if hosts.admit(host) or host.casefold() in self._http_hosts:
            return
        known = ", ".join(hosts.patterns) or "it names none"
        if client is None:
            whose, where = f"the hosts of {provider.name}", ""
        else:
            whose = f"the hosts that the secret of client {client.name} may go to as one of {provider.name}"
            where = "in the client's token_url, where accounts of this provider name their own host, or "
        raise HostNotAllowed(
            f"token_url: {host} is none of {whose} ({known}); if it is to be trusted with these credentials, "
            f"name it {where}in `hosts` of this provider in REFRESHD_PROVIDERS_FILE"
        )

    def check(self, text: str, field: str = "token_url") -> httpx.URL:
        """Return a URL that a request may go to: https, or http to a host that is allowed it.

        Args:
            text: the URL.
            field: whose it is, for the message.

        Raises:
            InvalidRequest: it is none.
        """
        try:
            url = httpx.URL(text)
            host = url.host  # raises for a name that is no IDNA, such as xn--a.com
        except (httpx.InvalidURL, ValueError):
            raise InvalidRequest(f"{field}: it can't be read as a URL") from None
        if not host:
            raise InvalidRequest(f"{field}: it names no host; expected https://HOST/...")
        if not _HOST.fullmatch(url.raw_host) or not 0 < (url.port or 1) <= _PORT_MAX:
            raise InvalidRequest(f"{field}: it can't be read as a URL")
        if url.userinfo:
            raise InvalidRequest(f"{field}: it holds a user name or password, which belong in client_auth")
        if url.scheme == "http" and host.casefold() not in self._http_hosts:
            raise InvalidRequest(
                f"{field}: plain http to {host} is refused (https, or REFRESHD_ALLOW_HTTP_HOSTS)"
            )
        if url.scheme not in {"http", "https"}:
            raise InvalidRequest(f"{field}: https:// is expected")
        return url


def sign_locally(request: RefreshRequest, *, now: float) -> TokenResponse:
    """Return the access token of a provider that takes what the account's own key signs: nothing is sent.

    Raises:
        InvalidRequest: a variable has no value, or the key does not fit.
    """
    assertion = request.provider.grant_assertion
    draft = RequestDraft(request=request, now=now, headers={})
    return TokenResponse(
        Secret(sign(draft, assertion, SigningAlgorithm.RS256)), expires_in_s=assertion.lifetime_s
    )


def _draft(request: RefreshRequest, now: float) -> RequestDraft:
    provider = request.provider
    template = _endpoint(request)
    draft = RequestDraft(request=request, now=now, headers=dict(_HEADERS))
    try:
        draft.url = template.url(draft.lookup)
    except TemplateError as error:
        raise InvalidRequest(f"token_url: {error}") from None
    draft.url_is_fixed = template.constant is not None
    draft.url_shown = template.source.partition("?")[0]
    _add_grant(draft)
    authenticate(draft, _client_auth(request))
    if provider.send_scope and request.scope:
        draft.params["scope"] = request.scope
    if provider.resource:
        draft.params["resource"] = provider.resource
    if provider.param_names:
        draft.params = {provider.param_names.get(name, name): value for name, value in draft.params.items()}
    for name, value in provider.params.items():
        if value is None:
            draft.params.pop(name, None)
        else:
            draft.params[name] = draft.filled(value)
    for name, text in provider.headers.items():
        draft.headers[name.lower()] = draft.text(text)
    return draft


def _endpoint(request: RefreshRequest) -> Template:
    if request.token_url:
        try:
            return parse(request.token_url)
        except TemplateError as error:
            raise InvalidRequest(f"token_url: {error}") from None
    endpoint = request.provider.endpoint
    if endpoint is None:
        raise InvalidRequest("token_url: the provider has none, so the account needs its own")
    return endpoint


def _add_grant(draft: RequestDraft) -> None:
    request, params = draft.request, draft.params
    grant = request.provider.grant
    if grant is GrantType.REFRESH_TOKEN:
        params["grant_type"] = "refresh_token"
        params["refresh_token"] = require(request.refresh_token, "refresh_token").reveal()
    elif grant is GrantType.CLIENT_CREDENTIALS:
        params["grant_type"] = "client_credentials"
    elif grant is GrantType.JWT_BEARER:
        params["grant_type"] = _JWT_BEARER
        params["assertion"] = sign(draft, request.provider.grant_assertion, SigningAlgorithm.RS256)
    elif grant is GrantType.ACCESS_TOKEN:
        params["access_token"] = require(request.access_token, "access_token").reveal()


def _client_auth(request: RefreshRequest) -> ClientAuth:
    if request.client_auth is None:
        return request.provider.client_auth
    try:
        return ClientAuth(request.client_auth)
    except ValueError:
        raise InvalidRequest(f"client_auth: expected one of {', '.join(ClientAuth)}") from None


def _flat(params: Mapping[str, object]) -> dict[str, str]:
    return {name: _form_text(value) for name, value in params.items()}


def _form_text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else str(value)


def with_query(url: str, query: Mapping[str, str]) -> str:
    """Return a URL with parameters added; one that the URL has already is replaced (RFC 6749 section 3.2: never twice)."""
    base, _, present = url.partition("#")[0].partition("?")
    kept = [piece for piece in present.split("&") if piece and _name(piece) not in query]
    return f"{base}?{'&'.join([*kept, _form(query)])}"


def _form(params: Mapping[str, str]) -> str:
    """Return text form-encoded, as `urlencode` does; the few names there are, are remembered."""
    return "&".join(
        [
            f"{_quoted_name(name)}={value if _UNRESERVED.fullmatch(value) else quote_plus(value)}"
            for name, value in params.items()
        ]
    )


@lru_cache(maxsize=1024)
def _quoted_name(name: str) -> str:
    return quote_plus(name)


def _name(piece: str) -> str:
    return unquote_plus(piece.partition("=")[0])


def _checked_headers(draft: RequestDraft) -> dict[str, str]:
    for name, value in draft.headers.items():
        if not _HEADER_VALUE.fullmatch(value):
            raise InvalidRequest(f"headers.{name}: a header holds printable ASCII only")
    return draft.headers
