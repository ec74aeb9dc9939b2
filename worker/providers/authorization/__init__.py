"""The first grant on the wire: the consent page's URL, and the requests by which a code becomes tokens.

Authorization code with PKCE (RFC 6749 section 4.1, RFC 7636) and device code (RFC 8628). Each request is a
`RefreshRequest` whose provider is set to exchange a code instead: client authentication, parameter names, headers
and the reading of the answer are the provider's, as for a refresh. So no OAuth client library is wanted here.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import parse_qs, urlsplit

from msgspec import Struct
from msgspec.structs import replace

from models.answer import Answer
from models.providers import GrantType, Provider
from models.providers.template import TemplateError, parse
from models.refresh_request import RefreshRequest
from models.tables.account import RefreshMethod
from models.token import Secret
from worker.providers.request.builder import with_query
from worker.providers.request.dpop import thumbprint
from worker.providers.request.draft import InvalidRequest, RequestDraft

DEVICE_CODE: Final = "urn:ietf:params:oauth:grant-type:device_code"  # RFC 8628 section 3.4
AUTHORIZATION_PENDING: Final = "authorization_pending"
SLOW_DOWN: Final = "slow_down"
#: Seconds between two questions where the provider names none, and what `slow_down` adds (RFC 8628 section 3.5).
INTERVAL_S: Final = 5.0
SLOWER_S: Final = 5.0

#: More is no interval: a person waits in front of the terminal.
_INTERVAL_MAX_S: Final = 60.0

#: RFC 7636 section 4.1: 43 to 128 characters. 48 bytes give 64.
_VERIFIER_BYTES: Final = 48
#: What is exchanged travels as custom fields of this name, so that no error quotes it.
_FIELD: Final = "consent."
#: What each question has of its own.
_STATE: Final = "state"
_CHALLENGE: Final = "code_challenge"
#: Fields of the answer to a device request, and the name that Google gave one of them.
_DEVICE_FIELDS: Final = ("user_code", "verification_uri", "verification_uri_complete", "interval")
_GOOGLES_URI: Final = "verification_url"


class Asking(Struct, frozen=True):
    """How one question for consent is recognised: the answer must bring the state, the exchange the verifier."""

    redirect_uri: str
    state: str
    verifier: Secret

    @classmethod
    def begin(cls, redirect_uri: str) -> Asking:
        """Return a new state and verifier."""
        return cls(redirect_uri, secrets.token_urlsafe(24), Secret(secrets.token_urlsafe(_VERIFIER_BYTES)))

    @property
    def challenge(self) -> str:
        """Return the verifier's SHA-256 (RFC 7636 section 4.2)."""
        digest = hashlib.sha256(self.verifier.reveal().encode()).digest()
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


class DeviceCode(Struct, frozen=True):
    """What a person types in, and where; `code` is what we ask with meanwhile (RFC 8628 section 3.2)."""

    code: Secret
    user_code: str
    verification_uri: str
    #: The same with the code in it.
    complete_uri: str | None
    lifetime_s: float
    interval_s: float


def scope_of(request: RefreshRequest) -> str | None:
    """Return what consent is asked for: the account's scope, else the provider's, and offline access with it."""
    provider = request.provider
    words = request.scope.split(" ") if request.scope else list(provider.scopes)
    if provider.offline_scope and provider.offline_scope not in words:
        words.append(provider.offline_scope)
    return " ".join(words) or None


class ConsentPage(Struct, frozen=True):
    """The page on which the owner consents, all but the values of one question; none of it is a secret."""

    url: str
    #: By what names the provider wants the state and the challenge; one that it does not take is missing.
    names: Mapping[str, str]

    def asked(self, asking: Asking) -> str:
        """Return the page's URL with the values of a question."""
        values = {_STATE: asking.state, _CHALLENGE: asking.challenge}
        return with_query(self.url, {name: values[one] for one, name in self.names.items()})


def consent_page(
    request: RefreshRequest, redirect_uri: str, *, check: Callable[[str, str], object], now: float
) -> ConsentPage:
    """Return the page on which the owner consents.

    Args:
        request: the account.
        redirect_uri: where the provider sends the browser.
        check: raises `InvalidRequest` for a URL (and its field) to which no person should be sent.
        now: epoch seconds, for templates.

    Raises:
        InvalidRequest: a variable has no value, or the URL is none.
    """
    provider = request.provider
    draft = RequestDraft(request=request, now=now, headers={})
    params: dict[str, str | None] = {
        "response_type": "code",
        "client_id": request.client_id,
        "redirect_uri": redirect_uri,
        "scope": scope_of(request),
        "code_challenge_method": "S256",
        "resource": provider.resource,  # RFC 8707 section 2.1
        "dpop_jkt": thumbprint(request),  # RFC 9449 section 10: the code is bound to the key as well
    }
    named = {provider.param_names.get(name, name): value for name, value in params.items()}
    for name, text in provider.authorize_params.items():
        named[name] = None if text is None else draft.text(text)
    url = with_query(
        _url(provider.authorize_url, "authorize_url", draft),
        {name: value for name, value in named.items() if value is not None},
    )
    check(url, "authorize_url")
    asked = {name: provider.param_names.get(name, name) for name in (_STATE, _CHALLENGE)}
    return ConsentPage(url, {one: name for one, name in asked.items() if name not in named})


def consent_url(
    request: RefreshRequest, asking: Asking, *, check: Callable[[str, str], object], now: float
) -> str:
    """Return the URL of the page on which the owner consents: `consent_page` for one question.

    Raises:
        InvalidRequest: a variable has no value, or the URL is none.
    """
    return consent_page(request, asking.redirect_uri, check=check, now=now).asked(asking)


def pushed_request(request: RefreshRequest, page: str, *, now: float) -> RefreshRequest:
    """Return the request that pushes what consent is asked with (RFC 9126 section 2.1). In its answer `request_uri` stands as the token.

    Args:
        request: the account.
        page: the page's URL, with the values of the question.
        now: epoch seconds, for templates.

    Raises:
        InvalidRequest: a variable has no value.
    """
    url = _url(request.provider.par_url, "par_url", RequestDraft(request=request, now=now, headers={}))
    pushed = {name: Secret(values[-1]) for name, values in parse_qs(urlsplit(page).query).items()}
    asked = _exchange(request, None, pushed)
    provider = asked.provider.overridden(
        {
            "token_url": url,
            "dpop": None,  # the page has the key's thumbprint, `dpop_jkt`
            "resource": None,  # it is among what is pushed
            "response": {"access_token": "request_uri", "refresh_token": []},
        }
    )
    return replace(asked, provider=provider, token_url=None)


def pushed_page(page: str, client_id: str, request_uri: str) -> str:
    """Return the page's URL that refers to what was pushed (RFC 9126 section 4)."""
    return with_query(page.partition("?")[0], {"client_id": client_id, "request_uri": request_uri})


def issuer_problem(provider: Provider, parameters: Mapping[str, str]) -> str | None:
    """Return what is wrong with the `iss` of a redirect (RFC 9207 section 2.4); None: nothing."""
    iss = parameters.get("iss")
    if iss is None:
        return "the redirect brings no `iss`, which the server promises" if provider.iss_required else None
    if provider.issuer is None or iss == provider.issuer:
        return None
    return f"the redirect comes from {iss[:200]!r}; expected {provider.issuer!r}"


def code_request(request: RefreshRequest, asking: Asking, code: str) -> RefreshRequest:
    """Return the request that exchanges an authorization code (RFC 6749 section 4.1.3)."""
    exchanged = {"code": Secret(code), "redirect_uri": Secret(asking.redirect_uri)}
    if "code_challenge" not in request.provider.authorize_params:
        exchanged["code_verifier"] = asking.verifier
    return _exchange(request, "authorization_code", exchanged)


def device_request(request: RefreshRequest, *, now: float) -> RefreshRequest:
    """Return the request for a device code (RFC 8628 section 3.1). In its answer the device code stands as the token.

    Raises:
        InvalidRequest: a variable has no value.
    """
    scope = scope_of(request)
    url = _url(request.provider.device_url, "device_url", RequestDraft(request=request, now=now, headers={}))
    asked = _exchange(request, None, {"scope": Secret(scope)} if scope else {})
    provider = asked.provider.overridden(
        {
            "token_url": url,
            "dpop": None,  # RFC 9449 section 5: it is the token endpoint that wants a proof
            "response": {"access_token": "device_code", "refresh_token": []},
            "publish_fields": [*_DEVICE_FIELDS, _GOOGLES_URI],
        }
    )
    return replace(asked, provider=provider, token_url=None)


def device_token_request(request: RefreshRequest, device: DeviceCode) -> RefreshRequest:
    """Return the request that asks whether the owner has consented (RFC 8628 section 3.4)."""
    return _exchange(request, DEVICE_CODE, {"device_code": device.code})


def read_device_code(answer: Answer, *, default_lifetime_s: float) -> DeviceCode | None:
    """Read the answer to a device request, None where it holds no code."""
    token = answer.token
    if token is None:
        return None
    user_code = token.extra.get("user_code")
    uri = token.extra.get("verification_uri") or token.extra.get(_GOOGLES_URI)
    if not user_code or not uri:
        return None
    return DeviceCode(
        code=token.access_token,
        user_code=user_code,
        verification_uri=uri,
        complete_uri=token.extra.get("verification_uri_complete"),
        lifetime_s=token.expires_in_s or default_lifetime_s,
        interval_s=_seconds(token.extra.get("interval")) or INTERVAL_S,
    )


def _url(template: str | None, knob: str, draft: RequestDraft) -> str:
    if template is None:
        raise InvalidRequest(f"{knob}: {draft.request.provider.name} has none")
    try:
        return parse(template).url(draft.lookup)
    except TemplateError as error:
        raise InvalidRequest(f"{knob}: {error}") from None


def _exchange(
    request: RefreshRequest, grant_type: str | None, exchanged: Mapping[str, Secret]
) -> RefreshRequest:
    """Return a request that sends these values in the place of a refresh token."""
    params: dict[str, str | None] = {
        name: None for name, text in request.provider.params.items() if _is_of_a_refresh(text)
    }
    params |= {name: f"${{custom.{_FIELD}{name}}}" for name in exchanged} | {"grant_type": grant_type}
    fields = {f"{_FIELD}{name}": value for name, value in exchanged.items()}
    return replace(
        request,
        provider=_with_params(request.provider, params),
        refresh_method=RefreshMethod.BODY
        if request.refresh_method is RefreshMethod.CALLBACK
        else request.refresh_method,
        access_token=None,
        refresh_token=None,
        custom_fields={**request.custom_fields, **fields},
    )


def _with_params(provider: Provider, params: Mapping[str, str | None]) -> Provider:
    knobs: dict[str, object] = {"grant": GrantType.LOGIN.value, "params": params, "send_scope": False}
    if provider.refresh_url is not None:  # RFC 6749 knows one token endpoint; some refresh elsewhere
        knobs["refresh_url"] = None
    return provider.overridden(knobs)


def _is_of_a_refresh(template: object) -> bool:
    """Return whether a parameter is made of tokens, which there are none of yet."""
    if not isinstance(template, str):
        return False
    tokens = {"account.refresh_token", "account.access_token"}
    return any(tokens & variables for variables in parse(template).variables())


def _seconds(text: str | None) -> float | None:
    try:
        seconds = float(text or 0)
    except ValueError:
        return None
    return seconds if 0 < seconds <= _INTERVAL_MAX_S else None
