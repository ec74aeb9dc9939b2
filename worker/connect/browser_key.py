"""The key of a customer's browser, from which the state and the PKCE verifier of a session are derived.

The browser keeps it in a cookie, and the database has only its hash. So nothing is stored that could finish a session
in another browser, a button that is pressed twice asks the same question twice, and a restart forgets nothing.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from typing import Final, Self

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from msgspec import Struct

from models.token import Secret
from worker.providers.authorization import Asking

#: 256 bits, as every secret here.
_KEY_BYTES: Final = 32
#: Base64url of the key, as the cookie has it.
_COOKIE: Final = re.compile(r"[A-Za-z0-9_-]{43}")
_ID_BYTES: Final = 24
_SESSION_ID: Final = re.compile(r"cs_[A-Za-z0-9_-]{32}")
#: RFC 7636 section 4.1: 43 to 128 characters; 32 bytes are 43, for the state as well.
_DERIVED_BYTES: Final = 32


class BrowserKey(Struct, frozen=True):
    """The secret of one browser, for one session."""

    secret: Secret

    @classmethod
    def new(cls) -> Self:
        return cls(Secret(secrets.token_urlsafe(_KEY_BYTES)))

    @classmethod
    def of_cookie(cls, text: str | None) -> Self | None:
        """Return the key that a cookie holds, None where it holds none."""
        return cls(Secret(text)) if text and _COOKIE.fullmatch(text) else None

    def asking(self, session_id: str, redirect_uri: str) -> Asking:
        """Return the question with which this browser is sent to the provider."""
        state, verifier = (self._derived(what, session_id) for what in ("state", "verifier"))
        return Asking(redirect_uri, state, Secret(verifier))

    def hash(self, session_id: str) -> str:
        """Return what the session's row knows the browser by."""
        return hashed(f"browser\0{session_id}\0{self.secret.reveal()}")

    def is_of(self, session_id: str, browser_hash: str | None) -> bool:
        """Return whether this is the browser that began the session."""
        return browser_hash is not None and hmac.compare_digest(self.hash(session_id), browser_hash)

    def _derived(self, what: str, session_id: str) -> str:
        info = b"\0".join((b"refreshd connect v1", what.encode(), session_id.encode()))
        derived = HKDF(algorithm=SHA256(), length=_DERIVED_BYTES, salt=None, info=info).derive(
            self.secret.reveal().encode()
        )
        return base64.urlsafe_b64encode(derived).rstrip(b"=").decode()


def state_hash(state: str) -> str:
    """Return what a session is found by, when a browser brings its state back."""
    return hashed(f"state\0{state}")


def hashed(text: str) -> str:
    """Return the SHA-256 of a text that is random already, in hex."""
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def new_session_id() -> str:
    """Return a session's id, which is guessed by nobody: 192 bits."""
    return f"cs_{secrets.token_urlsafe(_ID_BYTES)}"


def is_session_id(text: str) -> bool:
    """Return whether a text can be a session's id."""
    return _SESSION_ID.fullmatch(text) is not None
