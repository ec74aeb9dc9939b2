"""Secrets at rest: AES-256-GCM, the key's id beside each value, its account and field bound in.

A sealed value is `v1.KEYID.BASE64(nonce + ciphertext + tag)`. The associated data is the account's id and the
field's name, so a value copied to another row or column does not open. Values of `h1.` were sealed to a key's public
half (`worker/crypto/intake.py`), and open with the same key.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import secrets
from collections.abc import Mapping
from functools import cache
from time import gmtime, strftime
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from models.token import Secret
from worker.clock import wall_clock
from worker.crypto import intake
from worker.crypto.intake import KEY_ID, intake_private_key, intake_public_text, open_intake
from worker.errors import KeyMissing, SealBroken, SettingsError

_VERSION: Final = "v1"
_KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12  # NIST SP 800-38D section 8.2: 96 bits
_NONCES_DRAWN: Final = 2048
#: Random bytes in an id, beside the day.
_ID_BYTES: Final = 4
_VERSIONS: Final = frozenset({_VERSION, intake.VERSION})


class _Nonces:
    """Random nonces, drawn many at once: `getrandom` lets go of the interpreter's lock, and has to get it back.

    A forked process draws its own, so that no nonce is used twice; each is taken by one thread.
    """

    def __init__(self) -> None:
        self._drawn: list[bytes] = []
        os.register_at_fork(after_in_child=self._drawn.clear)

    def take(self) -> bytes:
        try:
            return self._drawn.pop()
        except IndexError:
            drawn = secrets.token_bytes(_NONCE_BYTES * _NONCES_DRAWN)
            fresh = [drawn[n : n + _NONCE_BYTES] for n in range(0, len(drawn), _NONCE_BYTES)]
            nonce = fresh.pop()
            self._drawn.extend(fresh)
            return nonce


#: Of this process.
_nonces: Final = _Nonces()


class Cipher:
    """Encrypts with the first key, decrypts with any.

    Args:
        keys: by id.
        source: the setting or file that they come from, for errors.
    """

    def __init__(self, keys: Mapping[str, bytes], source: str = "REFRESHD_KEYS") -> None:
        self._source = source
        self._ciphers = {key_id: AESGCM(key) for key_id, key in keys.items()}
        #: By id; each is derived when the first value that was sealed to it is opened.
        self._private = cache(lambda key_id: intake_private_key(keys[key_id]))
        self.writing_key = next(iter(self._ciphers))
        self._writing, self._begins = self._ciphers[self.writing_key], f"{_VERSION}.{self.writing_key}."

    @property
    def key_ids(self) -> tuple[str, ...]:
        return tuple(self._ciphers)

    @property
    def intake_key(self) -> str:
        """The public half of the writing key, as REFRESHD_INTAKE_KEY has it."""
        return intake_public_text(self.writing_key, self._private(self.writing_key))

    def is_current(self, sealed: str) -> bool:
        """Return whether a value is sealed as `seal` would seal it now: with the writing key, and not to its public half."""
        return sealed.startswith(self._begins)

    def seal(self, secret: Secret, *, account: str, field: str) -> str:
        nonce = _nonces.take()
        plain = secret.reveal().encode(errors="surrogatepass")
        sealed = self._writing.encrypt(nonce, plain, _bound_to(account, field))
        return self._begins + base64.b64encode(nonce + sealed).decode()

    def open(self, sealed: str, *, account: str, field: str) -> Secret:
        """Open a sealed value.

        Raises:
            KeyMissing: it was sealed with a key that is not configured.
            SealBroken: it was changed, or is another account's or field's.
        """
        where = f"{field} of account {account}"
        version, _, rest = sealed.partition(".")
        key_id, _, text = rest.partition(".")
        if version not in _VERSIONS:
            raise SealBroken(f"{where} is no sealed value: restore it from a backup, or store it anew")
        if key_id not in self._ciphers:
            raise KeyMissing(key_id, where, self._source)
        try:
            raw = base64.b64decode(text, validate=True)
            if version == intake.VERSION:
                plain = open_intake(raw, self._private(key_id), account=account, field=field)
            else:
                plain = self._ciphers[key_id].decrypt(
                    raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], _bound_to(account, field)
                )
        except (InvalidTag, binascii.Error, ValueError):
            raise SealBroken(
                f"{where} does not open with key {key_id!r} of {self._source}: the value was changed or belongs elsewhere, or the key "
                "is another one of the same id"
            ) from None
        return Secret(plain.decode(errors="surrogatepass"))


def key_of(sealed: str) -> str | None:
    """Return the id of the key that sealed a value, None where it is no sealed value."""
    version, _, rest = sealed.partition(".")
    return rest.partition(".")[0] if version in _VERSIONS else None


def new_key_id() -> str:
    """Return an id that no other key has: keys of two sources meet in one database."""
    return f"k-{strftime('%Y%m%d', gmtime(wall_clock()))}-{secrets.token_hex(_ID_BYTES)}"


def generate_key(key_id: str | None = None) -> str:
    """Return a new key as `ID:BASE64`, ready for REFRESHD_KEYS."""
    return f"{key_id or new_key_id()}:{base64.b64encode(secrets.token_bytes(_KEY_BYTES)).decode()}"


def parse_keys(text: str, setting: str = "REFRESHD_KEYS") -> dict[str, bytes]:
    """Read `ID:BASE64[,ID:BASE64...]`; the first key encrypts.

    Raises:
        SettingsError: a part is not a key. The message names it by position and id, never by value.
    """
    keys: dict[str, bytes] = {}
    parts = [part for part in re.split(r"[,\s]+", text) if part]
    for position, part in enumerate(parts, start=1):
        key_id, colon, encoded = part.partition(":")
        where = f"{setting}, key {position}"
        if not colon or not KEY_ID.fullmatch(key_id):
            raise SettingsError(
                f"{where}: not a key; expected ID:BASE64 (an id is 1 to 32 letters, digits, - or _)"
            )
        if key_id in keys:
            raise SettingsError(f"{where}: the id {key_id!r} is used twice")
        keys[key_id] = _key_bytes(encoded, f"{where} ({key_id})")
    if not keys:
        raise SettingsError(f"{setting} holds no key: make one with `refreshd keys generate`")
    return keys


def _key_bytes(encoded: str, where: str) -> bytes:
    try:
        key = base64.b64decode(encoded, altchars=b"-_" if {"-", "_"} & set(encoded) else None, validate=True)
    except ValueError:
        raise SettingsError(f"{where}: is not base64; make one with `refreshd keys generate`") from None
    if len(key) != _KEY_BYTES:
        raise SettingsError(
            f"{where}: has {len(key)} bytes, AES-256 needs {_KEY_BYTES}; make one with `refreshd keys generate`"
        )
    return key


def _bound_to(account: str, field: str) -> bytes:
    return f"{account}\0{field}".encode()
