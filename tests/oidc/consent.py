"""A grant the whole way: a person's consent in a browser, and the code exchanged for tokens (RFC 6749 section 4.1)."""

from __future__ import annotations

import base64
import hashlib
import secrets
from typing import Any, Final

import httpx

from tests.oidc.browser import Browser, query_of
from tests.oidc.server import REDIRECT_URI, AuthorizationServer
from tests.support.waiting import PATIENCE_S

SCOPE: Final = "openid offline_access email"
_ANSWER_S: Final = PATIENCE_S


def consent(server: AuthorizationServer, client_id: str, *, login: str) -> dict[str, str]:
    """Have a person consent; returns the parameters by which a client then exchanges the code."""
    verifier = secrets.token_urlsafe(32)
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    asked = httpx.URL(
        server.authorize_url,
        params={
            "client_id": client_id,
            "response_type": "code",
            "redirect_uri": REDIRECT_URI,
            "scope": SCOPE,
            "prompt": "consent",  # OpenID Connect Core section 11: without it, no offline access
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        },
    )
    with Browser(login) as browser:
        code = query_of(browser.open(str(asked), until=REDIRECT_URI))["code"]
    return {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": REDIRECT_URI,
        "code_verifier": verifier,
        "client_id": client_id,
    }


def exchange(server: AuthorizationServer, parameters: dict[str, str]) -> dict[str, Any]:
    """Ask the token endpoint; returns its answer.

    Raises:
        AssertionError: it refused.
    """
    response = httpx.post(server.token_url, data=parameters, timeout=_ANSWER_S)
    if response.is_error:
        raise AssertionError(f"{response.status_code}: {response.text}")
    answer: dict[str, Any] = response.json()
    return answer
