"""Secrets at rest."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys

import pytest
from pydantic import BaseModel

from models.token import Secret
from worker.crypto.cipher import Cipher, generate_key, key_of, parse_keys
from worker.errors import KeyMissing, SealBroken, SettingsError

SECRET = Secret("s3cr3t-\udcff-\0-\N{SNOWMAN}")


def cipher(*ids: str) -> Cipher:
    return Cipher(parse_keys(",".join(generate_key(key_id) for key_id in ids)))


def test_what_was_sealed_opens_at_its_own_place() -> None:
    box = cipher("k1")
    sealed = box.seal(SECRET, account="a", field="refresh_token")
    assert box.open(sealed, account="a", field="refresh_token") == SECRET
    assert key_of(sealed) == "k1"
    assert key_of(sealed.replace("v1.", "v2.", 1)) is None


@pytest.mark.parametrize("junk", ["\n", "*", "=", " "])
def test_a_sealed_value_has_one_spelling(junk: str) -> None:
    box = cipher("k1")
    sealed = box.seal(SECRET, account="a", field="f")
    with pytest.raises(SealBroken):
        box.open(f"{sealed[:20]}{junk}{sealed[20:]}", account="a", field="f")


def test_the_same_secret_never_looks_the_same() -> None:
    box = cipher("k1")
    assert box.seal(SECRET, account="a", field="f") != box.seal(SECRET, account="a", field="f")


#: Nonces are drawn ahead: the first value draws them, and parent and child seal the next one each.
FORKING = """
import os
from models.token import Secret
from worker.crypto.cipher import Cipher

box = Cipher({"k1": bytes(32)})
box.seal(Secret("s"), account="a", field="f")
os.fork()
os.write(1, box.seal(Secret("s"), account="a", field="f").encode() + b"\\n")
"""


def test_a_forked_process_uses_no_nonce_of_its_parent() -> None:
    # In a process of one thread: Python 3.12 and later warn of a fork beside threads, and the test runner has some.
    written = subprocess.run([sys.executable, "-c", FORKING], check=True, stdout=subprocess.PIPE, text=True)
    one, other = written.stdout.split()
    assert one != other
    assert {
        Cipher({"k1": bytes(32)}).open(value, account="a", field="f").reveal() for value in (one, other)
    } == {"s"}


@pytest.mark.parametrize(("account", "field"), [("b", "refresh_token"), ("a", "access_token"), ("", "")])
def test_a_value_copied_to_another_place_does_not_open(account: str, field: str) -> None:
    box = cipher("k1")
    sealed = box.seal(SECRET, account="a", field="refresh_token")
    with pytest.raises(SealBroken):
        box.open(sealed, account=account, field=field)


@pytest.mark.parametrize("broken", ["", "v1.k1", "v1.k1.", "v1.k1.AAAA", "v1.k1.%%%", "v2.k1.AAAA", "plain"])
def test_what_is_no_sealed_value_is_said_so(broken: str) -> None:
    with pytest.raises(SealBroken):
        cipher("k1").open(broken, account="a", field="f")


def test_the_first_key_writes_and_any_opens() -> None:
    old, new = generate_key("old"), generate_key("new")
    sealed = Cipher(parse_keys(old)).seal(SECRET, account="a", field="f")
    both = Cipher(parse_keys(f"{new},{old}"))
    assert both.open(sealed, account="a", field="f") == SECRET
    assert key_of(both.seal(SECRET, account="a", field="f")) == "new"


def test_a_missing_key_is_named() -> None:
    sealed = cipher("old").seal(SECRET, account="acct", field="refresh_token")
    with pytest.raises(KeyMissing, match="refresh_token of account acct is sealed with key 'old'"):
        cipher("new").open(sealed, account="acct", field="refresh_token")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no key"),
        ("nocolon", "key 1: not a key; expected ID:BASE64"),
        ("bad id:AAAA", "key 1: not a key; expected ID:BASE64"),
        ("b.d:AAAA", "key 1: not a key; expected ID:BASE64"),  # a dot ends the id in what is sealed
        ("k1:not-base64!", r"key 1 \(k1\): is not base64"),
        ("k1:not-ASCII-\u0661", r"key 1 \(k1\): is not base64"),
        ("k1:AAAA", r"key 1 \(k1\): has 3 bytes, AES-256 needs 32"),
        pytest.param(
            generate_key("k1") + "," + generate_key("k1"), "key 2: the id 'k1' is used twice", id="twice"
        ),
    ],
)
def test_a_wrong_key_is_named_by_place_and_not_by_value(text: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message) as caught:
        parse_keys(text)
    for part in text.replace(",", ":").split(":"):
        assert len(part) < 5 or part not in str(caught.value)


def test_a_key_may_be_spelled_for_urls() -> None:
    ((_, key),) = parse_keys("k1:" + "+/" * 21 + "8=").items()
    assert parse_keys("k1:" + "-_" * 21 + "8=") == {"k1": key}


class Holder(BaseModel):
    secret: Secret


def test_a_secret_shows_itself_to_nobody() -> None:
    secret = Secret("marker-secret")
    holder = Holder(secret=secret)
    shown = [
        repr(secret),
        str(secret),
        f"{secret}",
        f"{secret:>40}",
        repr([secret]),
        repr(holder),
        str(holder),
        holder.model_dump_json(),
        str(holder.model_dump(mode="json")),
        secret.fingerprint(),
        "{}".format(secret),  # noqa: UP032
    ]
    assert not [text for text in shown if "marker" in text]
    with pytest.raises(TypeError):
        json.dumps(secret)
    with pytest.raises(TypeError):
        pickle.dumps(secret)
