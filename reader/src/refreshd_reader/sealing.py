"""Published tokens that only key holders can read: AES-256-GCM, for a Redis that others can read.

In place of `access_token`, the token's hash has `sealed_access_token`: `KEY_ID:BASE64`, the base64 (RFC 4648 section
4) of a 12-byte nonce, the ciphertext and its 16-byte tag. Associated data are account and generation, so that a
value that was copied to another account, or back from an older generation, does not open.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, Self

from refreshd_reader.contract import SEALED_FIELD, Token
from refreshd_reader.errors import KeyMissing, PayloadUnreadable

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES: Final = 32

#: NIST SP 800-38D section 8.2.2: random nonces of 96 bits serve 2^32 values under one key.
NONCE_BYTES: Final = 12


class TokenSeal:
    """Seals and opens access tokens.

    Args:
        keys: by id, each of 32 bytes. The first one seals, all of them open: a new key goes second to all readers,
            then first to the workers, then the old one may go.
    """

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        # Imported here: without sealed tokens cryptography (the extra `sealed`) is not needed.
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        for key_id, key in keys.items():
            if not key_id or ":" in key_id or len(key) != KEY_BYTES:
                raise ValueError(f"key {key_id!r}: expected an id without a colon and {KEY_BYTES} bytes")
        if not keys:
            raise ValueError("no key")
        self._writes_with = next(iter(keys))
        self._keys: dict[str, AESGCM] = {key_id: AESGCM(key) for key_id, key in keys.items()}

    @classmethod
    def of(cls, text: str) -> Self:
        """Read keys as written in settings: `ID:BASE64`, comma separated.

        Raises:
            ValueError: a part is not a key; the message has its number and never a key.
        """
        keys = {}
        for number, part in enumerate(text.split(","), 1):
            key_id, colon, encoded = part.strip().partition(":")
            try:
                keys[key_id] = base64.b64decode(encoded, validate=True)
            except ValueError:
                raise ValueError(f"key number {number}: expected ID:BASE64") from None
            if not colon:
                raise ValueError(f"key number {number}: expected ID:BASE64")
        return cls(keys)

    def to_hash(self, account: str, token: Token) -> dict[str, str]:
        """Return the fields of `refreshd:token:{ACCOUNT}` with the access token sealed."""
        fields = token.to_hash()
        nonce = os.urandom(NONCE_BYTES)
        bound_to = _bound_to(account, fields["generation"])
        sealed = nonce + self._keys[self._writes_with].encrypt(
            nonce, fields.pop("access_token").encode(), bound_to
        )
        fields[SEALED_FIELD] = f"{self._writes_with}:{base64.b64encode(sealed).decode()}"
        return fields

    def opened(self, account: str, fields: Mapping[str, str]) -> dict[str, str]:
        """Return the fields with the access token in the clear.

        Raises:
            KeyMissing: none of the keys is the one that sealed it.
            PayloadUnreadable: it was changed, or belongs to another account or generation.
            KeyError: there is no generation.
        """
        from cryptography.exceptions import InvalidTag

        rest = dict(fields)
        key_id, _, encoded = rest.pop(SEALED_FIELD).partition(":")
        if key_id not in self._keys:
            raise KeyMissing(account, key_id)
        bound_to = _bound_to(account, rest["generation"])
        try:
            sealed = base64.b64decode(encoded, validate=True)
            opened = self._keys[key_id].decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], bound_to)
        except (InvalidTag, ValueError):
            raise PayloadUnreadable(
                account, "its sealed token was changed, or belongs to another account or generation"
            ) from None
        rest["access_token"] = opened.decode()
        return rest


def _bound_to(account: str, generation: str) -> bytes:
    return f"refreshd token\0{account}\0{generation}".encode()
