"""A provider as data: where its token endpoint is, how it wants to be asked, and how it answers.

The standard refresh of RFC 6749 section 6 needs none of the knobs but `token_url`. Every other one is there
because a real provider needs it (`docs/providers.md`). Knobs compose; nothing here is evaluated.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Annotated, Any, Final, Literal, TypeGuard

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    model_validator,
)

from models.providers.assertion import Assertion
from models.providers.choices import WITH_CONSENT, ClientAuth, GrantType, OldAccessToken, ParamsIn
from models.providers.dpop import ProofAlgorithm
from models.providers.error_rule import ErrorRule
from models.providers.hosts import ANY_HOST, Hosts, checked_hosts, is_pattern
from models.providers.limits import check_headers, check_published
from models.providers.response_shape import ResponseShape
from models.providers.template import Template, TemplateError, parse, texts_in

__all__ = [
    "ISSUER",
    "WITH_CONSENT",
    "ClientAuth",
    "GrantType",
    "OldAccessToken",
    "ParamsIn",
    "Provider",
]

#: So many different overrides are cached per provider.
_OVERRIDES_REMEMBERED: Final = 2048

#: The provider of accounts whose issuer's metadata say the rest.
ISSUER: Final = "issuer"

#: Options that hold names and values: an override adds to them instead of replacing the whole.
_MERGED: Final = (
    "params",
    "query",
    "headers",
    "param_names",
    "publish_fields",
    "response",
    "authorize_params",
)


def _is_texts(value: object) -> TypeGuard[Sequence[str]]:
    return isinstance(value, list | tuple) and all(isinstance(one, str) for one in value)


def _alternatives(value: object) -> object:
    return " || ".join(value) if _is_texts(value) else value


def _named_by_themselves(value: object) -> object:
    return {path: path for path in value} if _is_texts(value) else value


#: A URL template; a list is tried in order, and the first whose variables all have a value is used.
UrlTemplate = Annotated[str, BeforeValidator(_alternatives, json_schema_input_type=str | list[str])]

#: A parameter's value: a template, a constant, or None to leave out what would be sent. JSON bodies may nest.
ParamValue = Any


class Provider(BaseModel):
    """Everything that is known of one provider. Amounts are in seconds; None means unknown."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")
    """What accounts call it."""
    title: str | None = None
    """The provider's name as people write it."""
    sources: tuple[str, ...] = ()
    """Where the facts come from."""
    verified: str | None = None
    """How well the facts are known: vendor-doc, code, issue, secondary, memory."""
    notes: str | None = None
    """What a person should know, and where sources disagree."""

    # --- the request ---------------------------------------------------------------------------------
    token_url: UrlTemplate | None = None
    """The token endpoint, a template. None: each account gives its own."""
    refresh_url: UrlTemplate | None = None
    """Where a refresh goes, if not to the token endpoint."""
    hosts: Annotated[tuple[str, ...], AfterValidator(checked_hosts)] | None = None
    """The hosts that credentials may go to: `HOST`, `*.DOMAIN`, or `*` for any. None: those of the URLs here."""
    method: Literal["POST", "GET"] = "POST"
    """The HTTP method; GET sends every parameter in the query."""
    params_in: ParamsIn = ParamsIn.FORM
    """Where parameters travel; an account whose refresh_method is `url_query` sends them in the query."""
    grant: GrantType = GrantType.REFRESH_TOKEN
    """What a refresh exchanges for a new access token."""
    client_auth: ClientAuth = ClientAuth.BODY
    """How the client proves who it is; an account may choose otherwise."""
    authorization: str | None = None
    """The Authorization header of client_auth `header`, a template."""
    params: Mapping[str, ParamValue] = Field(default_factory=dict)
    """Parameters to add or to change (templates), or to leave out (null)."""
    param_names: Mapping[str, str] = Field(default_factory=dict)
    """Standard parameter -> the name this provider uses, such as client_id: client_key."""
    query: Mapping[str, str] = Field(default_factory=dict)
    """Parameters that go to the URL's query wherever the others travel (templates)."""
    headers: Mapping[str, str] = Field(default_factory=dict)
    """Headers to add or to change (templates)."""
    send_scope: bool = False
    """Send the account's scope. RFC 6749 section 6: left out, it stays what it was; a narrower one narrows the grant for good at many servers."""
    client_assertion: Assertion = Assertion()
    """The JWT of client_auth private_key_jwt, client_secret_jwt and bearer_jwt."""
    grant_assertion: Assertion = Assertion()
    """The JWT of the grants jwt_bearer and self_signed."""
    dpop: ProofAlgorithm = None
    """Prove possession of the account's `dpop_key` in each request (RFC 9449): the algorithm; `true` is ES256."""
    dpop_key_may_change: bool = False
    """Sign with a `dpop_key` that is not the access token's (`cnf.jkt`) too: a client with a secret may change its key."""

    # --- the first grant -----------------------------------------------------------------------------
    authorize_url: UrlTemplate | None = None
    """Where an account's owner consents (RFC 6749 section 3.1), for `refreshd accounts authorize`."""
    issuer: str | None = None
    """The authorization server's identifier (RFC 8414), which `iss` of a redirect must equal (RFC 9207)."""
    iss_required: bool = False
    """Every redirect brings `iss`; one without it is refused (RFC 9207 section 2.4)."""
    resource: str | None = None
    """The protected resource that tokens are for (RFC 8707): sent at consent, exchange and every refresh."""
    par_url: UrlTemplate | None = None
    """Where what consent is asked with is pushed first (RFC 9126). None: it travels in the page's URL."""
    device_url: UrlTemplate | None = None
    """Where a code is had that the owner types in on another device (RFC 8628 section 3.1)."""
    revocation_url: UrlTemplate | None = None
    """Where a grant is ended (RFC 7009), for `refreshd accounts remove --revoke`."""
    scopes: tuple[str, ...] = ()
    """What consent is asked for where the account names no scope."""
    offline_scope: str | None = None
    """The scope without which no refresh token is given: asked for beside whatever else."""
    authorize_params: Mapping[str, str | None] = Field(default_factory=dict)
    """Parameters of the consent page to add or to change (templates), or to leave out (null)."""
    redirect_fields: Mapping[str, str] = Field(default_factory=dict)
    """Parameters that the redirect brings beside the code -> custom fields of the account that keep them."""

    # --- the response --------------------------------------------------------------------------------
    response: ResponseShape = ResponseShape()
    """Where in the response tokens and errors stand."""
    publish_fields: Annotated[
        Mapping[str, str],
        BeforeValidator(_named_by_themselves, json_schema_input_type=Mapping[str, str] | list[str]),
    ] = Field(default_factory=dict)
    """Response fields to publish beside the token: name -> path; a list of paths names them by themselves."""
    error_rules: tuple[ErrorRule, ...] = ()
    """The provider's own words for errors; they come before the general table."""

    # --- lifetimes -----------------------------------------------------------------------------------
    default_lifetime_s: float | None = Field(None, gt=0)
    """The access token's life where the response names none."""
    never_expires: bool = False
    """Access tokens have no end, whatever the response says (Mailchimp returns expires_in 0)."""
    margin_s: float | None = Field(None, ge=0)
    """How long before its end a token is refreshed."""
    refresh_window_s: float | None = Field(None, gt=0)
    """A refresh is accepted only in the last so many seconds of a token."""
    rotates: bool | None = None
    """A refresh returns a new refresh token and ends the old one."""
    replay_grace_s: float | None = Field(None, ge=0)
    """A spent refresh token may be used again for so long. None: unknown, so unsafe."""
    replay_until_used: bool = False
    """A spent refresh token may be used again until the new access token is used (Doorkeeper, GitLab)."""
    old_access_token: OldAccessToken = OldAccessToken.LIVES
    """The fate of the previous access token: where it dies, a refresh that comes early costs a live token."""
    refresh_token_idle_s: float | None = Field(None, gt=0)
    """A refresh token that is not used for so long ends."""
    refresh_token_lifetime_s: float | None = Field(None, gt=0)
    """A refresh token ends so long after the consent, used or not."""

    # --- the budget ----------------------------------------------------------------------------------
    requests_per_s: float | None = Field(None, gt=0)
    """Refreshes a second, of all accounts and workers together; for each host, where accounts have their own or their tenant's."""
    max_in_flight: int | None = Field(None, ge=1)
    """Calls at once, likewise."""

    @cached_property
    def _overrides(self) -> dict[str, Provider]:
        """What accounts made of it, by their options; no part of what it is equal to."""
        return {}

    @cached_property
    def _of_clients(self) -> dict[tuple[str | None, ...], Provider]:
        """What clients made of it, likewise."""
        return {}

    @model_validator(mode="after")
    def _limits_are_kept(self) -> Provider:
        shape = self.response
        check_published([*self.publish_fields, *self.publish_fields.values()], "publish_fields")
        check_published([*shape.access_token, *shape.token_type, *shape.scope], "response")
        check_headers(self.headers)
        return self

    @model_validator(mode="after")
    def _templates_can_be_read(self) -> Provider:
        for knob, template in [*self.templates(), *self._consent_templates()]:
            try:
                parse(template)
            except TemplateError as error:
                raise ValueError(f"{knob}: {error}") from None
        if self.client_auth is ClientAuth.HEADER and not self.authorization:
            raise ValueError("client_auth `header` needs `authorization`, the header's template")
        if self.params_in is not ParamsIn.JSON:
            nested = [name for name, value in self.params.items() if isinstance(value, dict | list)]
            if nested:
                raise ValueError(f"params {', '.join(nested)}: only a JSON body can nest (params_in: json)")
        return self

    def templates(self) -> list[tuple[str, str]]:
        """Return every template with its option."""
        singles = {"token_url": self.token_url, "refresh_url": self.refresh_url}
        if self.client_auth is ClientAuth.HEADER:
            singles["authorization"] = self.authorization
        found = [(knob, text) for knob, text in singles.items() if text is not None]
        for knob in ("params", "query", "headers"):
            found += [(f"{knob}.{name}", text) for name, text in texts_in(getattr(self, knob))]
        return found

    def _consent_templates(self) -> list[tuple[str, str]]:
        """Return the templates that only the first grant needs; a refresh needs none of their variables."""
        urls = {
            "authorize_url": self.authorize_url,
            "par_url": self.par_url,
            "device_url": self.device_url,
            "revocation_url": self.revocation_url,
        }
        found = [(knob, text) for knob, text in urls.items() if text is not None]
        return found + [(f"authorize_params.{name}", text) for name, text in texts_in(self.authorize_params)]

    @property
    def replayable(self) -> bool:
        """Return whether a spent refresh token may be used again, for a time or until the new tokens are used."""
        return self.replay_grace_s is not None or self.replay_until_used

    @cached_property
    def endpoint(self) -> Template | None:
        """Where a refresh goes: `refresh_url`, else `token_url`."""
        url = self.refresh_url or self.token_url
        return None if url is None else parse(url)

    @cached_property
    def host(self) -> str | None:
        """The host of the token endpoint, where all accounts share one. None: each has its own, or its tenant's."""
        hosts = set() if self.endpoint is None else set(self.endpoint.hosts())
        host = hosts.pop() if len(hosts) == 1 else "*"
        return None if "*" in host else host

    @cached_property
    def allowed_hosts(self) -> Hosts:
        """The hosts that credentials may go to: `hosts`, else those of the URLs. A provider without URLs: any."""
        if self.hosts is not None:
            return Hosts(self.hosts)
        urls = (
            *(self.token_url, self.refresh_url, self.authorize_url),
            *(self.par_url, self.device_url, self.revocation_url),
        )
        found = [host for url in urls if url is not None for host in parse(url).hosts()]
        return Hosts(tuple(dict.fromkeys(found)) or (ANY_HOST,))

    def for_client(self, token_urls: Sequence[str], issuer: str | None) -> Provider:
        """Return this provider as a shared client's secret may use it: to no host that an account alone names.

        Where an account's word could lead to any host, it is the client's token URL that names one.

        Args:
            token_urls: the client's.
            issuer: the client's: another issuer's metadata name no host for it.
        """
        named = self.allowed_hosts.patterns
        elsewhere = self.name == ISSUER and (issuer is None or _bare(self.issuer) != _bare(issuer))
        if ANY_HOST not in named and not elsewhere:
            return self
        key = (*token_urls, issuer)
        found = self._of_clients.get(key)
        if found is None:
            own = [host for url in token_urls for host in parse(url).hosts() if is_pattern(host)]
            hosts = dict.fromkeys((*(() if elsewhere else named), *own))
            found = self.overridden({"hosts": [host for host in hosts if host != ANY_HOST]})
            vars(found)["host"] = self.host
            if len(self._of_clients) >= _OVERRIDES_REMEMBERED:
                self._of_clients.clear()
            self._of_clients[key] = found
        return found

    def for_account(self, knobs: Mapping[str, object]) -> Provider:
        """Return this provider with an account's overrides. They send no credentials to other hosts.

        Raises:
            pydantic.ValidationError: as of `overridden`.
        """
        if not knobs:
            return self
        found = self.overridden({**knobs, "hosts": self.allowed_hosts.patterns})
        vars(found)["host"] = self.host  # an account's own URL is not that of all accounts
        return found

    def overridden(self, knobs: Mapping[str, object]) -> Provider:
        """Return this provider with some options overridden, as an account may do.

        Options that hold names and values (`params`, `headers`, `response` ...) are added to; others replaced.

        Raises:
            pydantic.ValidationError: a knob that does not exist, or a value that it can't have.
        """
        if not knobs:
            return self
        key = json.dumps(knobs, sort_keys=True, default=str)
        found = self._overrides.get(key)
        if found is None:
            if len(self._overrides) >= _OVERRIDES_REMEMBERED:
                self._overrides.clear()
            found = self._overrides[key] = self._with(knobs)
        return found

    def _with(self, knobs: Mapping[str, object]) -> Provider:
        data = self.model_dump(exclude_unset=True)
        for knob, value in knobs.items():
            mine = data.get(knob)
            if knob in _MERGED and isinstance(value, Mapping) and isinstance(mine, Mapping):
                data[knob] = {**mine, **value}
            else:
                data[knob] = value
        return Provider.model_validate(data)


def _bare(issuer: str | None) -> str | None:
    """Return an issuer without the slash at its end, which its document may spell otherwise."""
    return None if issuer is None else issuer.removesuffix("/")
