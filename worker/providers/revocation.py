"""One grant ended at its provider (RFC 7009): asked with the client authentication of a refresh.

The refresh token is what is revoked; the provider is expected to end the access tokens of the grant with it (RFC 7009
section 2.1). An account that has none has its access token revoked.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final
from urllib.parse import urlsplit

from msgspec.structs import replace

from models.answer import Answer, Fault
from models.providers import GrantType
from models.providers.template import TemplateError, parse
from models.refresh_request import RefreshRequest
from models.tables.account import RefreshMethod
from models.token import Secret
from worker.providers.request.draft import InvalidRequest, RequestDraft

_SUCCESSES: Final = range(200, 300)
#: RFC 9110 section 15.5.9, RFC 8470 section 5.2, RFC 6585 section 4: the same request may succeed later.
_LATER: Final = frozenset({408, 425, 429})
_SERVER_ERROR: Final = 500
#: What keeps a call from an answer, and passes by itself.
_AWAY: Final = frozenset(
    {
        *(Fault.CONNECT, Fault.DNS, Fault.TLS, Fault.TIMEOUT, Fault.BROKEN, Fault.BROKE_HTTP),
        *(Fault.NOT_SENT, Fault.ISSUER_AWAY),
    }
)
#: The token travels as a custom field of this name, so that no error quotes it.
_FIELD: Final = "revoked.token"


class Revocation(StrEnum):
    """What became of a grant at its provider."""

    REVOKED = "revoked"
    #: The provider's data names no `revocation_url`.
    UNSUPPORTED = "unsupported"
    #: The account holds nothing that could be revoked.
    NO_TOKEN = "no_token"
    #: A refresh of the account is under way, or its answer waits to be stored.
    BUSY = "busy"
    FAILED = "failed"


def revocation_request(
    request: RefreshRequest, *, now: float, own_url: bool = False
) -> RefreshRequest | Revocation:
    """Return the request that ends a grant, or why there is none.

    Args:
        request: the account, as for a refresh.
        now: epoch seconds, for templates.
        own_url: the account names its `revocation_url` itself.

    Raises:
        InvalidRequest: a variable of the URL has no value.
    """
    provider = request.provider
    if provider.revocation_url is None:
        return Revocation.UNSUPPORTED
    kind, token = "refresh_token", request.refresh_token
    if not token:
        kind, token = "access_token", request.access_token
    if not token:
        return Revocation.NO_TOKEN
    draft = RequestDraft(request=request, now=now, headers={})
    try:
        url = parse(provider.revocation_url).url(draft.lookup)
    except TemplateError as error:
        raise InvalidRequest(f"revocation_url: {error}") from None
    if _is_of_another_server(request, url, own_url=own_url, draft=draft):
        return Revocation.UNSUPPORTED
    params: dict[str, str | None] = dict.fromkeys(provider.params)
    params |= {"token": f"${{custom.{_FIELD}}}", "token_type_hint": kind, "grant_type": None}
    asked = provider.overridden(
        {
            "grant": GrantType.LOGIN.value,
            "method": "POST",
            "token_url": url,
            "refresh_url": None,
            "params_in": "form",
            "params": params,
            "send_scope": False,
            "dpop": None,
            "hosts": provider.allowed_hosts.patterns,
        }
    )
    return replace(
        request,
        provider=asked,
        refresh_method=RefreshMethod.BODY,
        token_url=None,
        access_token=None,
        refresh_token=None,
        custom_fields={**request.custom_fields, _FIELD: Secret(token.reveal())},
    )


def _is_of_another_server(request: RefreshRequest, url: str, *, own_url: bool, draft: RequestDraft) -> bool:
    """Return whether the account's tokens come from elsewhere: a server that never issued them says 200 (RFC 7009 section 2.2).

    Another host (a GitLab of one's own), or another authorization server on the same one (Okta has many).
    """
    if not request.token_url:
        return False
    if urlsplit(request.token_url).hostname != urlsplit(url).hostname:
        return True
    endpoint = request.provider.endpoint
    if own_url or endpoint is None:
        return False
    try:
        return endpoint.url(draft.lookup) != request.token_url
    except TemplateError:
        return True


def asked_in_vain(answer: Answer) -> bool:
    """Return whether the provider was away or took no request now, so that asking again may end the grant."""
    if answer.status is None:
        return answer.fault in _AWAY
    return answer.status in _LATER or answer.status >= _SERVER_ERROR


def read_revocation(answer: Answer) -> tuple[Revocation, str]:
    """Read an answer: any 2xx without an error is a success (RFC 7009 section 2.2); else in words, no secret in them."""
    if answer.status in _SUCCESSES and not answer.error:
        return Revocation.REVOKED, ""
    if answer.fault is not None and answer.status is None:
        return Revocation.FAILED, answer.fault_detail or answer.fault.value
    words = ": ".join(filter(None, (answer.error, answer.error_description)))
    return Revocation.FAILED, f"HTTP {answer.status}{f' {words}' if words else ''}"
