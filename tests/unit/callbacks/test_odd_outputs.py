"""Outputs that hold what is no JSON: each value is taken or left out by itself, and a token never goes with it."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from types import MappingProxyType, SimpleNamespace
from typing import Any, NamedTuple
from urllib.parse import urlencode

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct
from pydantic import BaseModel, SecretStr

from models.callback import OUTPUT_FIELDS, CallbackOutput
from models.providers import Provider
from models.refresh_request import RefreshRequest
from refreshd_reader.callback_output import OUTPUT_NAMES, as_json
from worker.callbacks.host.result import Read, read_value, unpacked
from worker.callbacks.sandbox.run import _as_answer


@dataclass
class Refused:
    error: str = "invalid_grant"


class Reply:
    """Of somebody's SDK."""


class Unspeakable:
    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)


CYCLE: dict[str, Any] = {}
CYCLE["itself"] = CYCLE
DEEP: list[Any] = []
for _ in range(100_000):
    DEEP = [DEEP]
ODD: dict[str, Any] = {
    "datetime": datetime(2026, 1, 1, tzinfo=UTC),
    "logger": logging.getLogger(),
    "an SDK's own": Reply(),
    "an error": ValueError("words"),
    "no UTF-8": b"\xff",
    "cycle": CYCLE,
    "too deep": DEEP,
    "a name that is no text": {("a", "b"): 1},
    "a number of 5,000 digits": 10**5000,
    "no number": Decimal("sNaN"),
    "raises": Unspeakable(),
}


REQUEST = RefreshRequest(account_id="acct", provider=Provider(name="acme", publish_fields={"more": "more"}))


def read(returned: object) -> Read:
    return read_value(_as_answer(returned)["returned"], REQUEST)


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD.keys())
@pytest.mark.parametrize("field", ["expires_in", "scope", "token_type", "errorResponse", "more"])
def test_what_is_no_json_is_left_out_by_itself_and_said(field: str, odd: object) -> None:
    returned = {"access_token": "a", "refresh_token": "r", field: odd}
    for output in (returned, CallbackOutput(**returned), MappingProxyType(returned)):
        found = read(output)
        assert found.answer.token is not None
        assert found.answer.token.refresh_token is not None
        assert found.answer.token.refresh_token.reveal() == "r"
        assert found.answer.token.extra == {}
        assert [note for note in found.notes if note.startswith(f"{field} is a {type(odd).__name__}")]


@pytest.mark.parametrize(
    ("field", "given", "taken"),
    [
        ("expires_in_s", Decimal(3600), 3600),
        ("expires_in_s", Fraction(7200, 2), 3600),
        ("scope", {"b", "a"}, "a b"),
        ("scope", ("b", "a"), "b a"),
    ],
)
def test_what_can_be_meant_in_one_way_only_is_taken(field: str, given: Any, taken: Any) -> None:
    token = read({"access_token": "a", field.removesuffix("_s"): given}).answer.token
    assert token is not None
    assert getattr(token, field) == taken


@pytest.mark.parametrize("rotated", ["new", b"new", SecretStr("new")])
def test_a_rotated_token_is_taken_from_bytes_and_secrets(rotated: Any) -> None:
    token = read({"access_token": rotated, "refresh_token": rotated}).answer.token
    assert token is not None
    assert token.refresh_token is not None
    assert (token.access_token.reveal(), token.refresh_token.reveal()) == ("new", "new")


def test_an_error_response_that_nobody_can_read_is_told_where_there_is_no_token() -> None:
    answer = read({"errorResponse": Reply()}).answer
    assert answer.fault_detail is not None
    assert "errorResponse is a Reply, an object is expected" in answer.fault_detail


def test_a_dataclass_is_an_object() -> None:
    assert read(Refused()).answer.error == "invalid_grant"
    assert read({"access_token": "a", "errorResponse": Refused()}).answer.error == "invalid_grant"


class Attributes(Struct):
    access_token: str
    refresh_token: str
    expires_in: int = 300


class Named(NamedTuple):
    access_token: str
    refresh_token: str


class Model(BaseModel):
    """As a task's own application has them: the sandbox knows how to dump one, the reader does not know pydantic."""

    access_token: str
    refresh_token: str


TOKENS: dict[str, Any] = {"access_token": "a", "refresh_token": "r"}
HOLDERS: dict[str, object] = {
    "an object with attributes": SimpleNamespace(**TOKENS),
    "a struct": Attributes(**TOKENS),
    "a named tuple": Named(**TOKENS),
    "a pydantic model": Model(**TOKENS),
    "httpx's response": httpx.Response(200, json=TOKENS),
    "a text of JSON": json.dumps(TOKENS),
    "bytes of JSON": json.dumps(TOKENS).encode(),
    "a form": urlencode(TOKENS),
    "a web framework's pair": (TOKENS, 200),
    "an object in another": {"ok": True, "data": TOKENS},
    "JSON in an object": {"statusCode": 200, "body": json.dumps(TOKENS)},
}


def test_the_readers_names_of_an_output_are_those_of_the_contract() -> None:
    assert set(OUTPUT_NAMES) == set(OUTPUT_FIELDS)


@pytest.mark.parametrize("holder", HOLDERS.values(), ids=HOLDERS.keys())
def test_a_rotated_token_is_taken_from_whatever_holds_it(holder: object) -> None:
    """The refresh token that was sent is spent: the run that shows the mistake would be the grant's last."""
    value, notes = unpacked(as_json(holder))
    token = read_value(value, REQUEST).answer.token
    assert token is not None
    assert token.refresh_token is not None
    assert (token.access_token.reveal(), token.refresh_token.reveal()) == ("a", "r")
    is_output = isinstance(value, Mapping) and value == as_json(holder)
    assert is_output is not any("what stands in it is read" in note for note in notes)


@pytest.mark.parametrize(
    ("holder", "error"),
    [
        (json.dumps({"error": "invalid_grant"}), "invalid_grant"),
        (({"errorResponse": {"error": "invalid_grant"}}, 400), "invalid_grant"),
    ],
    ids=["a text of JSON", "a web framework's pair"],
)
def test_so_is_a_refusal(holder: object, error: str) -> None:
    assert read_value(unpacked(as_json(holder))[0], REQUEST).answer.error == error


@pytest.mark.parametrize(
    "holder",
    [
        [TOKENS, {"access_token": "other"}],
        {"new": TOKENS, "old": {"refresh_token": "other"}},
        "new-access",
        ["new-access"],
        None,
    ],
    ids=["two in a list", "two in an object", "a text", "a list", "None"],
)
def test_where_nothing_or_more_than_one_is_held_the_value_stays(holder: object) -> None:
    assert unpacked(holder) == (holder, ())


@pytest.mark.parametrize(
    "returned", [Reply(), [{("a", "b"): 1}], 10**5000], ids=["an SDK's own", "a list", "a number"]
)
def test_what_has_no_fields_and_is_no_json_is_refused(returned: object) -> None:
    with pytest.raises((TypeError, ValueError)):
        as_json(returned)


@given(
    st.dictionaries(st.text(), st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.text()))
)
def test_what_is_json_stays_as_it_is(returned: dict[str, Any]) -> None:
    assert as_json(returned) == json.loads(json.dumps(returned))
