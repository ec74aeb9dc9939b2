"""Authorization codes of the local provider: each is good once, for the client, redirect and verifier that it was asked with."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from worker.clock import wall_clock
from worker.local.demo.provider.grants import DemoGrant, Grants, GrantSpec, RequestRefused


@dataclass(frozen=True, slots=True)
class _Code:
    client_id: str
    redirect_uri: str
    challenge: str = field(repr=False)
    grant: str


class Codes:
    """Codes that were given and not exchanged yet.

    Args:
        lifetime_s: of the access tokens of a consent's grant.
    """

    def __init__(self, lifetime_s: float = 3600) -> None:
        self._lifetime_s = lifetime_s
        self._open: dict[str, _Code] = {}

    def give(self, asked: Mapping[str, str], grants: Grants) -> str:
        """Make a grant, and return the code for it."""
        client_id = asked["client_id"]
        terms: dict[str, Any] = {
            "id": f"{client_id}-{secrets.token_hex(4)}",
            "client_id": client_id,
            "scope": asked.get("scope") or "read",
            "lifetime_s": self._lifetime_s,
        }
        if client_id in grants.clients:  # a client that is known proves itself as before
            terms["client_secret"], terms["client_auth"] = grants.clients[client_id]
        spec = GrantSpec.model_validate(terms)
        grants.put(spec, now=wall_clock())
        code = secrets.token_urlsafe(24)
        self._open[code] = _Code(client_id, asked["redirect_uri"], asked["code_challenge"], spec.id)
        return code

    def exchange(self, params: Mapping[str, str], grants: Grants, *, client_id: str) -> DemoGrant:
        """Return the grant of a code, which is good once.

        Raises:
            RequestRefused: it is none of this client and redirect, or the verifier is another one's.
        """
        code = self._open.pop(params.get("code", ""), None)
        digest = hashlib.sha256(params.get("code_verifier", "").encode()).digest()
        verified = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        if (
            code is None
            or (code.client_id, code.redirect_uri) != (client_id, params.get("redirect_uri"))
            or not hmac.compare_digest(verified, code.challenge)
        ):
            raise RequestRefused("invalid_grant", "not a code of this client, or it was used before")
        return grants.by_id[code.grant]
