"""The origin, client and provider of a refresh: what it shares with other refreshes. Pure."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from msgspec import Struct

from models.account_state import RefreshMethod
from models.providers.template import TemplateError, host_of, parse
from models.refresh_request import RefreshRequest
from models.token import Secret

if TYPE_CHECKING:  # tables bring the ORM, which reading an account has no use for
    from models.tables.account import Account

_PORTS: Final = {"https": 443, "http": 80}
_CLIENT: Final = "|client:"


class Lane(Struct, frozen=True):
    """One origin, one client at one of its token endpoints, one provider. Accounts that share all three pass the same gates."""

    #: `https://host[:port]` (RFC 6454: the default port is left out), `callback:NAME`, or `provider:NAME` where no request can be made.
    origin: str
    #: Fingerprint of token endpoint, client id, client secret and way of authentication.
    client: str
    provider: str
    client_id: str = ""

    @property
    def gates(self) -> tuple[str, str]:
        """Return the names of the origin's gate and of the client's gate."""
        return self.origin, f"{self.origin}{_CLIENT}{self.client}"


def origin_of_gate(name: str) -> str:
    """Return the origin at which a gate stands."""
    return name.partition(_CLIENT)[0]


def is_clients(name: str) -> bool:
    """Return whether a gate is a client's gate; else it is an origin's."""
    return _CLIENT in name


def lane_of(account: Account, method: str, request: RefreshRequest | None) -> Lane:
    """Return the lane of an account's refreshes.

    A callback is an origin of its own: one that hangs is no outage of the provider, and none of another callback.
    """
    if method == RefreshMethod.CALLBACK:
        endpoint, origin = "", f"callback:{account.callback}"
    else:
        endpoint = "" if request is None else _endpoint(request)
        origin = _origin(endpoint) or f"provider:{account.provider}"
    client_id, secret, auth = account.client_id or "", "", account.client_auth or ""
    if request is not None:
        client_id = request.client_id or ""
        secret = request.client_secret.reveal() if request.client_secret else ""
        auth = request.client_auth or str(request.provider.client_auth)
    proof = Secret(f"{endpoint}\0{client_id}\0{secret}\0{auth}").fingerprint()
    return Lane(origin, proof, account.provider, client_id)


def origin_of(request: RefreshRequest) -> str:
    """Return the origin that a request goes to."""
    return _origin(_endpoint(request)) or f"provider:{request.provider.name}"


def _endpoint(request: RefreshRequest) -> str:
    try:
        template = parse(request.token_url) if request.token_url else request.provider.endpoint
        if template is None:
            return ""
        constant = template.constant
        return template.url(request.variable) if constant is None else constant
    except TemplateError:  # nothing can be sent
        return ""


@lru_cache(maxsize=4096)
def _origin(url: str) -> str | None:
    host = host_of(url)
    if host is None:
        return None
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    scheme = parts.scheme.lower()
    named = f"[{host}]" if ":" in host else host
    return f"{scheme}://{named}" if port in {None, _PORTS.get(scheme)} else f"{scheme}://{named}:{port}"
