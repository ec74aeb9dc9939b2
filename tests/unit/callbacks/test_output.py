"""What is kept of a callback's output: its two ends, and no secret in any form."""

from __future__ import annotations

import base64
import json
import re
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.callbacks.host.output import HELD, KEPT, Captured, OutputRedaction

SECRET = 'a/secret "with" ünicode & more'
PEM = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkq\nhkiG9w0BAQEFAASC\n-----END PRIVATE KEY-----\n"


def captured(*chunks: bytes) -> Captured:
    output = Captured()
    for chunk in chunks:
        output.feed(chunk)
    return output


@pytest.mark.parametrize(
    "form",
    [
        SECRET,
        quote(SECRET, safe=""),
        json.dumps(SECRET),
        json.dumps({"token": SECRET}),
        repr(SECRET),
        base64.b64encode(SECRET.encode()).decode(),
    ],
)
def test_a_secret_is_masked_in_each_form_in_which_it_is_printed(form: str) -> None:
    text = captured(f"before {form} after".encode()).text(OutputRedaction([SECRET]))
    assert text.startswith("before ")
    assert text.endswith(" after")
    assert "[redacted]" in text or "*****" in text
    assert "secret" not in text


def test_each_line_of_a_key_is_masked() -> None:
    text = captured(b"line: hkiG9w0BAQEFAASC\n").text(OutputRedaction([PEM]))
    assert text == "line: [redacted]\n"


def test_a_word_is_no_secret() -> None:
    assert captured(b"region eu").text(OutputRedaction(["eu"])) == "region eu"


def test_http_basic_is_masked() -> None:
    header = base64.b64encode(b"client:pa").decode()
    redaction = OutputRedaction([], pairs=[("client", "pa")])
    assert (
        captured(f"Authorization: Basic {header}".encode()).text(redaction)
        == "Authorization: Basic [redacted]"
    )


def test_a_short_output_is_kept_whole() -> None:
    assert captured(b"one\n", b"two\n").text(OutputRedaction([])) == "one\ntwo\n"


def test_of_a_long_output_both_ends_are_kept_and_its_size_is_told() -> None:
    text = captured(b"begin " + b"x" * 1_000_000, b"y" * 1_000_000 + b" end").text(OutputRedaction([]))
    assert text.startswith("begin x")
    assert text.endswith("y end")
    assert "2,000,010 bytes in all" in text
    assert len(text) < KEPT + 200


@given(
    before=st.integers(0, 3 * HELD),
    secret=st.text("0123456789", min_size=5, max_size=300),
    times=st.integers(1, 400),
    chunk=st.integers(500, 50_000),
)
def test_no_piece_of_a_secret_survives_the_cut(before: int, secret: str, times: int, chunk: int) -> None:
    """Wherever the middle is left out, and however long the secret is."""
    whole = b"." * before + (secret.encode() + b".") * times + b"." * chunk
    chunks = (whole[at : at + chunk] for at in range(0, len(whole), chunk))
    kept = re.sub("[0-9,]+ bytes in all", "", captured(*chunks).text(OutputRedaction([secret])))
    assert not any(letter.isdigit() for letter in kept)


def test_what_is_no_text_is_shown_as_far_as_it_goes() -> None:
    assert captured(b"\xff\xfe ok").text(OutputRedaction([])) == "\ufffd\ufffd ok"
