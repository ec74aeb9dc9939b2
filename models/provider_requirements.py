"""The fields that a provider needs of an account; checked at import, not at the first call."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from models.account_state import RefreshMethod
from models.providers import ClientAuth, GrantType, Provider
from models.providers.assertion import Assertion, SigningAlgorithm
from models.providers.dpop import KEY_FIELD
from models.providers.template import Template, TemplateError, UnfitValue, parse
from models.refresh_request import OWN_FIELDS, RefreshRequest

#: Variables that every call has by itself; any text stands in for them here.
_OF_THE_CALL: Final = frozenset({"random", "now", "now:ms", "now:iso"})
_KEY: Final = f"custom_fields.{KEY_FIELD}"
_KEY_WANTED: Final = "`dpop` needs the private key that the grant is bound to, PEM or JWK"
_JWT_AUTH: Final = frozenset(
    {ClientAuth.PRIVATE_KEY_JWT, ClientAuth.CLIENT_SECRET_JWT, ClientAuth.BEARER_JWT}
)
_WITH_SECRET: Final = frozenset({ClientAuth.BODY, ClientAuth.BASIC, ClientAuth.BASIC_RAW})
_IN_A_HEADER: Final = frozenset({ClientAuth.BASIC, ClientAuth.BASIC_RAW})
_WITH_ID: Final = _WITH_SECRET | {ClientAuth.NONE, ClientAuth.PRIVATE_KEY_JWT, ClientAuth.CLIENT_SECRET_JWT}


def needed(provider: Provider, client_auth: ClientAuth | None = None) -> tuple[str, ...]:
    """Return the account's fields that a refresh at this provider needs, such as `custom_fields.subdomain`.

    Where a template has alternatives, the one that asks for the least counts. `client_auth` is the account's
    own choice, if it has one.
    """
    fields = list(_credentials(provider, client_auth or provider.client_auth))
    if provider.endpoint is None and provider.grant is not GrantType.SELF_SIGNED:
        fields.append("token_url")
    for _, template in _templates(provider, client_auth or provider.client_auth):
        fewest = min(template.variables(), key=len)
        fields += sorted(field_of(name) for name in fewest - _OF_THE_CALL)
    return tuple(dict.fromkeys(fields))


def check(provider: Provider, request: RefreshRequest) -> list[str]:
    """Return what keeps a refresh of this account from being sent: `field: reason`, and never a value.

    A callback makes its own request, so nothing is asked of an account that has one.
    """
    if request.refresh_method is RefreshMethod.CALLBACK:
        return []
    try:
        auth = ClientAuth(request.client_auth) if request.client_auth else provider.client_auth
    except ValueError:
        return [f"client_auth: expected one of {', '.join(ClientAuth)}"]
    problems = [
        f"{name}: {_KEY_WANTED if name == _KEY else f'{provider.name} needs it'}"
        for name in _credentials(provider, auth)
        if not _has(request, name)
    ]
    problems += _address_problems(provider, request)
    for knob, template in _templates(provider, auth, endpoint=False):
        missing = template.unresolved(lambda name: _value(request, name))
        problems += [f"{field_of(name)}: {provider.name} needs it ({knob})" for name in missing]
    return list(dict.fromkeys(problems))


def field_of(variable: str) -> str:
    """Return the account's field that a template's variable names."""
    space, _, name = variable.partition(".")
    return name if space == "account" and name in OWN_FIELDS else f"custom_fields.{name}"


def unfit(error: UnfitValue) -> str:
    """Return what is wrong with the field whose value does not fit into the URL of its account."""
    return f"{field_of(error.variable)}: {error.reason} (token_url)"


def _credentials(provider: Provider, auth: ClientAuth) -> Iterator[str]:
    # A provider without an address is any provider: what its clients need, only their accounts know.
    known = provider.endpoint is not None
    if known and auth in _WITH_ID and _is_sent(provider, auth, "client_id"):
        yield "client_id"
    if known and auth in _WITH_SECRET and _is_sent(provider, auth, "client_secret"):
        yield "client_secret"
    if auth is ClientAuth.MTLS:
        yield from ("custom_fields.client_certificate", "custom_fields.client_key")
    if provider.dpop is not None and provider.grant is not GrantType.SELF_SIGNED:
        yield _KEY
    if provider.grant is GrantType.REFRESH_TOKEN:
        yield "refresh_token"
    elif provider.grant is GrantType.ACCESS_TOKEN:
        yield "access_token"


def _is_sent(provider: Provider, auth: ClientAuth, name: str) -> bool:
    """Return whether a credential travels: a provider's `params` may leave out, or give itself, what is a parameter."""
    return auth in _IN_A_HEADER or name not in provider.params


def _address_problems(provider: Provider, request: RefreshRequest) -> list[str]:
    if provider.grant is GrantType.SELF_SIGNED:
        return []
    try:
        template = parse(request.token_url) if request.token_url else provider.endpoint
    except TemplateError as error:
        return [f"token_url: {error}"]
    if template is None:
        return [f"token_url: {provider.name} has none of its own, so the account needs one"]
    missing = template.unresolved(lambda name: _value(request, name))
    if missing:
        return [f"{field_of(name)}: {provider.name} needs it (token_url)" for name in missing]
    try:
        template.url(lambda name: _value(request, name))
    except UnfitValue as error:
        return [unfit(error)]
    return []


def _templates(
    provider: Provider, auth: ClientAuth, *, endpoint: bool = True
) -> Iterator[tuple[str, Template]]:
    for knob, text in provider.templates():
        if knob not in {"token_url", "refresh_url"}:
            yield knob, parse(text)
    if endpoint and provider.endpoint is not None:
        yield "token_url", provider.endpoint
    if auth in _JWT_AUTH:
        default = SigningAlgorithm.HS256 if auth is ClientAuth.CLIENT_SECRET_JWT else SigningAlgorithm.RS256
        yield from _of_assertion("client_assertion", provider.client_assertion, default)
    if provider.grant in {GrantType.JWT_BEARER, GrantType.SELF_SIGNED}:
        yield from _of_assertion("grant_assertion", provider.grant_assertion, SigningAlgorithm.RS256)


def _of_assertion(
    knob: str, assertion: Assertion, default: SigningAlgorithm
) -> Iterator[tuple[str, Template]]:
    key = assertion.key_for(assertion.algorithm or default)
    yield from ((knob, parse(text)) for text in [*assertion.texts(), key])


def _has(request: RefreshRequest, field_name: str) -> bool:
    space, _, name = field_name.partition(".")
    if space == "custom_fields":
        return bool(request.custom_fields.get(name))
    return bool(getattr(request, field_name))


def _value(request: RefreshRequest, name: str) -> str | None:
    return "0" if name in _OF_THE_CALL else request.variable(name)
