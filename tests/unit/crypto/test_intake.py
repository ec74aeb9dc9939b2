"""Secrets sealed by a process without keys (RFC 9180), and opened by one that has them."""

from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from models.token import Secret
from worker.crypto.cipher import Cipher, generate_key, key_of, parse_keys
from worker.crypto.intake import IntakeSealer, intake_private_key
from worker.errors import KeyMissing, SealBroken, SettingsError

SECRET = Secret("s3cr3t-\udcff-\0-\N{SNOWMAN}")
KEYS = parse_keys(",".join(generate_key(key_id) for key_id in ("k1", "k2")))


@pytest.fixture
def cipher() -> Cipher:
    return Cipher(KEYS)


@pytest.fixture
def intake(cipher: Cipher) -> IntakeSealer:
    return IntakeSealer.of(cipher.intake_key)


def test_a_value_sealed_to_the_public_key_opens_with_the_key_of_its_id(
    cipher: Cipher, intake: IntakeSealer
) -> None:
    sealed = intake.seal(SECRET, account="a", field="refresh_token")

    assert sealed.startswith("h1.k1.")
    assert key_of(sealed) == "k1"
    assert cipher.open(sealed, account="a", field="refresh_token") == SECRET


def test_a_value_opens_after_its_key_stopped_writing(intake: IntakeSealer) -> None:
    sealed = intake.seal(SECRET, account="a", field="f")
    rotated = Cipher({"new": KEYS["k2"], "k1": KEYS["k1"]})

    assert rotated.open(sealed, account="a", field="f") == SECRET
    with pytest.raises(KeyMissing):
        Cipher({"k2": KEYS["k2"]}).open(sealed, account="a", field="f")


@pytest.mark.parametrize("place", [("b", "f"), ("a", "g"), ("a\0f", "")])
def test_a_value_does_not_open_at_another_place(
    cipher: Cipher, intake: IntakeSealer, place: tuple[str, str]
) -> None:
    sealed = intake.seal(SECRET, account="a", field="f")
    with pytest.raises(SealBroken):
        cipher.open(sealed, account=place[0], field=place[1])


def test_a_changed_or_cut_value_does_not_open(cipher: Cipher, intake: IntakeSealer) -> None:
    version, key_id, encoded = intake.seal(SECRET, account="a", field="f").split(".")
    raw = base64.b64decode(encoded)
    for changed in (raw[:-1], raw[:31], b"", raw[:-1] + bytes([raw[-1] ^ 1]), bytes(32) + raw[32:]):
        with pytest.raises(SealBroken):
            cipher.open(f"{version}.{key_id}.{base64.b64encode(changed).decode()}", account="a", field="f")


def test_a_value_is_what_rfc_9180_says(intake: IntakeSealer) -> None:
    """Any HPKE library opens it: enc and ciphertext in a row, base mode, the context named."""
    encoded = intake.seal(Secret("text"), account="a", field="f").split(".")[2]
    suite = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)

    plain = suite.decrypt(
        base64.b64decode(encoded), intake_private_key(KEYS["k1"]), info=b"refreshd intake v1\0a\0f"
    )

    assert plain == b"text"


def test_the_private_half_is_not_the_key_itself() -> None:
    assert intake_private_key(KEYS["k1"]).private_bytes_raw() != KEYS["k1"]


def test_the_same_secret_never_looks_the_same(intake: IntakeSealer) -> None:
    assert intake.seal(SECRET, account="a", field="f") != intake.seal(SECRET, account="a", field="f")


def test_what_was_sealed_to_the_public_key_is_not_current(cipher: Cipher, intake: IntakeSealer) -> None:
    assert cipher.is_current(cipher.seal(SECRET, account="a", field="f"))
    assert not cipher.is_current(intake.seal(SECRET, account="a", field="f"))
    assert not cipher.is_current(Cipher({"k2": KEYS["k2"]}).seal(SECRET, account="a", field="f"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "expected ID:BASE64"),
        ("AAAA", "expected ID:BASE64"),
        ("k 1:AAAA", "expected ID:BASE64"),
        ("k1:!!!!", "not base64"),
        ("k1:AAAA", "has 3 bytes; expected 32"),
    ],
)
def test_a_wrong_key_is_named_with_what_would_be_right(text: str, words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        IntakeSealer.of(text)
