"""Secrets sealed by a process that can open nothing: HPKE (RFC 9180) to the public half of a key of REFRESHD_KEYS.

A sealed value is `h1.KEYID.BASE64(enc + ciphertext)`: base mode, DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM.
`info` holds the account's id and the field's name, so a value copied to another row or column does not open. The private
half is derived from the key of the same id, so that there is no second secret to keep, back up and rotate.
"""

from __future__ import annotations

import base64
import re
from typing import Final

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from models.token import Secret
from worker.errors import SettingsError

SETTING: Final = "REFRESHD_INTAKE_KEY"
VERSION: Final = "h1"
#: The id of a key, as it stands in every value that it sealed.
KEY_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,32}")
_PUBLIC_BYTES: Final = 32  # RFC 7748 section 5
_SUITE: Final = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
_CONTEXT: Final = b"refreshd intake v1"
#: Sets the derived private key apart from every other use of the same key.
_DERIVED: Final = b"refreshd intake v1 private key"


class IntakeSealer:
    """Seals to a public key, and opens nothing.

    Args:
        key_id: the id of the key that opens.
        public: its public half.
    """

    def __init__(self, key_id: str, public: X25519PublicKey) -> None:
        self.writing_key = key_id
        self._public = public

    @classmethod
    def of(cls, text: str) -> IntakeSealer:
        """Read `ID:BASE64`.

        Raises:
            SettingsError: it is no public intake key.
        """
        key_id, colon, encoded = text.strip().partition(":")
        if not colon or not KEY_ID.fullmatch(key_id):
            raise SettingsError(f"{SETTING}: not a public intake key; expected ID:BASE64{_HOW}")
        try:
            raw = base64.b64decode(encoded, validate=True)
        except ValueError:
            raise SettingsError(f"{SETTING} ({key_id}): not base64; expected ID:BASE64{_HOW}") from None
        if len(raw) != _PUBLIC_BYTES:
            raise SettingsError(
                f"{SETTING} ({key_id}): has {len(raw)} bytes; expected {_PUBLIC_BYTES}, a public key of X25519{_HOW}"
            )
        return cls(key_id, X25519PublicKey.from_public_bytes(raw))

    def seal(self, secret: Secret, *, account: str, field: str) -> str:
        plain = secret.reveal().encode(errors="surrogatepass")
        sealed = _SUITE.encrypt(plain, self._public, info=_info(account, field))
        return f"{VERSION}.{self.writing_key}.{base64.b64encode(sealed).decode()}"


def intake_private_key(key: bytes) -> X25519PrivateKey:
    """Return the private half of an intake key, derived from a key of REFRESHD_KEYS."""
    derived = HKDF(algorithm=SHA256(), length=_PUBLIC_BYTES, salt=None, info=_DERIVED).derive(key)
    return X25519PrivateKey.from_private_bytes(derived)


def intake_public_text(key_id: str, private: X25519PrivateKey) -> str:
    """Return the public half of an intake key as REFRESHD_INTAKE_KEY has it."""
    return f"{key_id}:{base64.b64encode(private.public_key().public_bytes_raw()).decode()}"


def open_intake(sealed: bytes, private: X25519PrivateKey, *, account: str, field: str) -> bytes:
    """Open what was sealed to a public key.

    Raises:
        InvalidTag: it was changed, or belongs elsewhere, or another key sealed it.
    """
    return _SUITE.decrypt(sealed, private, info=_info(account, field))


def _info(account: str, field: str) -> bytes:
    return b"\0".join((_CONTEXT, account.encode(), field.encode()))


_HOW: Final = "; `refreshd keys intake` prints it where REFRESHD_KEYS is set"
