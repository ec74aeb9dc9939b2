"""A provider's data made of what a server says of itself: an entry for REFRESHD_PROVIDERS_FILE, to read, keep and edit."""

from __future__ import annotations

import re
from typing import Any, Final

from models.providers import ClientAuth
from worker.providers.discovery.discover import Discovered
from worker.providers.discovery.metadata import ServerMetadata

#: Methods of the registry "OAuth Token Endpoint Authentication Methods" (IANA), in the order in which they are preferred:
#: those that every client has the means for come first.
METHODS: Final = {
    "client_secret_basic": ClientAuth.BASIC,
    "client_secret_post": ClientAuth.BODY,
    "none": ClientAuth.NONE,
    "private_key_jwt": ClientAuth.PRIVATE_KEY_JWT,
    "client_secret_jwt": ClientAuth.CLIENT_SECRET_JWT,
    "tls_client_auth": ClientAuth.MTLS,
    "self_signed_tls_client_auth": ClientAuth.MTLS,
}
#: RFC 8414 section 2: what a server takes that names nothing.
_DEFAULT_METHOD: Final = "client_secret_basic"
_OFFLINE: Final = "offline_access"  # OpenID Connect Core section 11
_NO_NAME: Final = re.compile(r"[^a-z0-9._-]+")


def client_auth(server: ServerMetadata) -> ClientAuth | None:
    """Return the client authentication to use; None: the server takes none that is known here."""
    offered = server.token_endpoint_auth_methods_supported or (_DEFAULT_METHOD,)
    return next((ours for method, ours in METHODS.items() if method in offered), None)


def entry_of(found: Discovered) -> dict[str, Any]:
    """Return the knobs of a provider, as a providers file writes them.

    Raises:
        ValueError: the server's ways to authenticate clients are all unknown here.
    """
    server, resource = found.server, found.resource
    auth = client_auth(server)
    if auth is None:
        methods = ", ".join(server.token_endpoint_auth_methods_supported)
        raise ValueError(
            f"{server.source}: token_endpoint_auth_methods_supported: none of {methods} is known"
        )
    entry: dict[str, Any] = {
        "title": server.issuer,
        "sources": [one for one in (server.source, resource.source if resource else None) if one],
        "verified": "metadata",
        "token_url": server.token_endpoint,
        "client_auth": auth.value,
    }
    optional = {
        "issuer": server.issuer,
        "iss_required": server.authorization_response_iss_parameter_supported,
        "authorize_url": server.authorization_endpoint,
        "par_url": server.pushed_authorization_request_endpoint
        if server.require_pushed_authorization_requests
        else None,
        "device_url": server.device_authorization_endpoint,
        "revocation_url": server.revocation_endpoint,
        "offline_scope": _OFFLINE if _OFFLINE in server.scopes_supported else None,
        "scopes": scopes(found),
    }
    entry |= {name: value for name, value in optional.items() if value}
    if _OFFLINE in server.scopes_supported:  # OpenID Connect Core section 11: without it, no offline access
        entry["authorize_params"] = {"prompt": "consent"}
    if resource is not None:  # RFC 8707: at consent, exchange and every refresh
        entry["resource"] = resource.resource
    return entry


def scopes(found: Discovered) -> list[str]:
    """Return what consent is asked for: what the challenge names, else what the resource knows."""
    if found.challenge_scope:
        return found.challenge_scope.split()
    return list(found.resource.scopes_supported) if found.resource else []


def name_of(found: Discovered) -> str:
    """Return a name for the provider: of the host, as provider names are written."""
    host = found.server.issuer.partition("://")[2].partition("/")[0]
    return _NO_NAME.sub("-", host.lower()).strip("-.")[:64] or "discovered"
