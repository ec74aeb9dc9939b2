"""What the local provider knows: clients, grants, and which tokens of them are good. No I/O, no clock of its own.

A token says which grant and which refresh of it it belongs to, and is signed. So nothing is kept of past tokens,
a spent refresh token is known as such for ever, and a provider that was started again with the same signing key
goes on with the tokens that it gave before.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, Literal

from msgspec import Struct
from pydantic import BaseModel, ConfigDict, Field

_SIGNATURE_BYTES: Final = 15

REVOKED_BY_REUSE: Final = "a spent refresh token was used again"
REVOKED_BY_OWNER: Final = "the owner revoked it"


class GrantSpec(BaseModel):
    """A grant as it is asked for: `POST /admin/grants`. Its client comes into being with it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(pattern=r"^[A-Za-z0-9._:@-]{1,128}$")
    client_id: str = "client"
    client_secret: str = "secret"
    client_auth: Literal["body", "basic", "basic_raw", "none"] = "body"
    scope: str = "read"
    #: Of an access token, seconds.
    lifetime_s: float = Field(3600, gt=0)
    rotates: bool = True
    #: The refresh token that was spent last may be used again for so long, and gives the same tokens.
    replay_grace_s: float = Field(0, ge=0)
    old_access_token: Literal["lives", "dies"] = "lives"
    expires_in_as: Literal["number", "text", "absent"] = "number"


class RequestRefused(Exception):
    """An error response of RFC 6749 section 5.2 or RFC 6750 section 3.1."""

    def __init__(self, error: str, description: str, *, status: int = 400) -> None:
        super().__init__(f"{error}: {description}")
        self.error = error
        self.description = description
        self.status = status


@dataclass(frozen=True, slots=True)
class TokenPair:
    """What a grant gives: access and refresh token, and when they were issued (epoch seconds)."""

    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    issued_at: float


class DemoGrant(Struct):
    """One resource owner's consent, and what happened to it. Times are epoch seconds."""

    spec: GrantSpec
    #: Counts token sets; the refresh token of the newest is the good one.
    serial: int = 1
    issued_at: float = 0.0
    revoked: str | None = None
    refreshes: int = 0
    replays: int = 0
    reuses: int = 0
    in_flight: int = 0
    max_in_flight: int = 0

    @contextmanager
    def call(self) -> Iterator[None]:
        """Count a call as under way, so that two at once are seen."""
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)
        try:
            yield
        finally:
            self.in_flight -= 1

    def counts(self) -> dict[str, int | str | None]:
        """Return what happened to it."""
        return {
            "serial": self.serial,
            "refreshes": self.refreshes,
            "replays": self.replays,
            "reuses": self.reuses,
            "max_in_flight": self.max_in_flight,
            "revoked": self.revoked,
        }

    def revoke(self, why: str) -> None:
        self.revoked = self.revoked or why


class Grants:
    """All grants of a provider."""

    def __init__(self, signing_key: bytes) -> None:
        self._key = signing_key
        self.by_id: dict[str, DemoGrant] = {}
        #: client_id -> (secret, method): a client has one of each, that of the grant that was put last.
        self.clients: dict[str, tuple[str, str]] = {}

    def put(self, spec: GrantSpec, *, now: float) -> DemoGrant:
        """Add a grant. One of this id that is there already takes the new terms and keeps its tokens."""
        self.clients[spec.client_id] = (spec.client_secret, spec.client_auth)
        grant = self.by_id.get(spec.id)
        if grant is None:
            grant = self.by_id[spec.id] = DemoGrant(spec, issued_at=now)
        grant.spec = spec
        return grant

    def tokens(self, grant: DemoGrant) -> TokenPair:
        """Return the newest token set of a grant."""
        end_ms = round((grant.issued_at + grant.spec.lifetime_s) * 1000)
        return TokenPair(
            access_token=self._signed(f"at.{grant.spec.id}.{grant.serial}.{end_ms}"),
            refresh_token=self._signed(f"rt.{grant.spec.id}.{grant.serial}"),
            issued_at=grant.issued_at,
        )

    def of_refresh_token(self, token: str, *, client_id: str) -> tuple[DemoGrant, int]:
        """Return the grant that a refresh token belongs to, and its serial.

        Raises:
            Refused: it is no refresh token of a living grant of this client.
        """
        kind, grant_id, serial = self._opened(token)
        grant = self.by_id.get(grant_id)
        if kind != "rt" or grant is None:
            raise RequestRefused("invalid_grant", "unknown refresh token")
        if grant.spec.client_id != client_id:
            raise RequestRefused("invalid_grant", "the refresh token was issued to another client")
        return grant, int(serial)

    def refresh(self, grant: DemoGrant, serial: int, *, now: float) -> None:
        """Spend a refresh token: afterwards `tokens` gives the answer.

        Raises:
            Refused: the grant is revoked, or is now, because this token was spent before.
        """
        if grant.revoked is not None:
            raise RequestRefused("invalid_grant", f"the grant was revoked: {grant.revoked}")
        if serial < grant.serial and grant.spec.rotates:
            graced = serial == grant.serial - 1 and now - grant.issued_at < grant.spec.replay_grace_s
            if not graced:
                grant.reuses += 1
                grant.revoke(REVOKED_BY_REUSE)  # RFC 9700 section 4.14.2
                raise RequestRefused("invalid_grant", f"the grant was revoked: {grant.revoked}")
            grant.replays += 1
            return
        # A serial from the future was signed by us before we were started again.
        grant.serial = max(serial, grant.serial) + 1 if grant.spec.rotates else grant.serial
        grant.issued_at = now
        grant.refreshes += 1

    def of_access_token(self, token: str, *, now: float) -> DemoGrant:
        """Return the grant of a good access token.

        Raises:
            Refused: it is none, it ended, or its grant did.
        """
        kind, rest, end_ms = self._opened(token)
        grant_id, _, serial = rest.rpartition(".")
        grant = self.by_id.get(grant_id)
        if kind != "at" or grant is None:
            raise RequestRefused("invalid_token", "unknown access token", status=401)
        if now * 1000 >= int(end_ms):
            raise RequestRefused("invalid_token", "the access token ended", status=401)
        if grant.revoked is not None:
            raise RequestRefused("invalid_token", f"the grant was revoked: {grant.revoked}", status=401)
        if grant.spec.old_access_token == "dies" and int(serial) < grant.serial:
            raise RequestRefused("invalid_token", "a refresh ended this access token", status=401)
        return grant

    def _signed(self, text: str) -> str:
        return f"{text}.{self._signature(text)}"

    def _opened(self, token: str) -> tuple[str, str, str]:
        """Return kind, middle and last part of a token that we signed; empty ones for any other."""
        text, _, signature = token.rpartition(".")
        if not hmac.compare_digest(signature.encode(), self._signature(text).encode()):
            return "", "", ""
        kind, _, rest = text.partition(".")
        middle, _, last = rest.rpartition(".")
        return kind, middle, last

    def _signature(self, text: str) -> str:
        digest = hmac.new(self._key, text.encode(errors="surrogatepass"), hashlib.sha256).digest()
        return base64.urlsafe_b64encode(digest[:_SIGNATURE_BYTES]).decode()
