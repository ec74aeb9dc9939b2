"""A client that is described by a document of its own, whose URL is its id (draft-ietf-oauth-client-id-metadata-document).

No server gives it a secret, so none ends, and no server can forget it: it reads the document whenever it wants.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any, Final
from urllib.parse import urlsplit

from models.providers import ClientAuth
from worker.providers.discovery.registration import Registered

#: Where the API serves the document, and where consents come back to; both below its base URL.
DOCUMENT_PATH: Final = "/connect/client.json"
CALLBACK_PATH: Final = "/connect/callback"


def document_url(base_url: str) -> str | None:
    """Return the client id of an API at this address; None: a server elsewhere could not fetch it, or not by https."""
    at = urlsplit(base_url)
    host = at.hostname or ""
    if at.scheme != "https" or "." not in host or host.endswith((".localhost", ".local", ".internal")):
        return None
    try:
        return f"{base_url}{DOCUMENT_PATH}" if ip_address(host).is_global else None
    except ValueError:  # a name
        return f"{base_url}{DOCUMENT_PATH}"


def document(base_url: str, *, name: str) -> dict[str, Any]:
    """Return the document of an API at this address.

    Args:
        base_url: where browsers and servers reach it.
        name: what people see on consent pages.
    """
    return {
        "client_id": f"{base_url}{DOCUMENT_PATH}",
        "client_name": name,
        "client_uri": f"{base_url}/",
        "redirect_uris": [f"{base_url}{CALLBACK_PATH}"],
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": "none",
        "application_type": "web",
    }


def described_by(url: str) -> Registered:
    """Return the client that a document describes."""
    return Registered(
        client_id=url,
        client_secret=None,
        client_auth=ClientAuth.NONE,
        secret_expires_at=None,
        uri=None,
        access_token=None,
    )
