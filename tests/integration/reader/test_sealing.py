"""Sealed tokens: transparent with the key, and of no use without it, changed, or in another place."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from refreshd_reader import KeyMissing, NoUsableToken, PayloadUnreadable, Reader, Token, UnknownAccount
from refreshd_reader.sealing import TokenSeal
from tests.integration.reader.publisher import MakeFace, Publisher

OLD = f"p1:{base64.b64encode(bytes(range(32))).decode()}"
NEW = f"p2:{base64.b64encode(bytes(32)).decode()}"
TOKEN = Token(
    "access-1", 7, "Bearer", "api", 1795485300, 4102444800, {"instance_url": "https://eu1.example.com"}
)


def _put(publisher: Publisher, fields: dict[str, str], account: str = "acct-1") -> None:
    mapping: dict[Any, Any] = {**fields}
    publisher.client.hset(publisher.keys.token(account), mapping=mapping)


@pytest.mark.parametrize("cache_size", [0, 10])
@pytest.mark.parametrize("keys", [OLD, f"{NEW},{OLD}", f"{OLD}, {NEW}"])
async def test_with_the_key_it_is_a_token_like_any_other(
    make_face: MakeFace, publisher: Publisher, keys: str, cache_size: int
) -> None:
    _put(publisher, TokenSeal.of(OLD).to_hash("acct-1", TOKEN))
    face = make_face(keys=keys, cache_size=cache_size)
    assert await face.get("acct-1") == await face.get("acct-1", 60) == TOKEN
    assert await face.get_many("acct-1") == {"acct-1": TOKEN}


async def test_a_reader_with_keys_reads_tokens_in_the_clear(
    make_face: MakeFace, publisher: Publisher
) -> None:
    """So that sealing can be switched on while everything runs: the readers first."""
    _put(publisher, TOKEN.to_hash())
    assert await make_face(keys=OLD).get("acct-1") == TOKEN


def test_redis_holds_no_access_token() -> None:
    fields = TokenSeal.of(OLD).to_hash("acct-1", TOKEN)
    assert "access_token" not in fields
    assert "access-1" not in str(fields)
    assert fields["instance_url"] == "https://eu1.example.com"


def test_no_two_seals_are_alike() -> None:
    seal = TokenSeal.of(OLD)
    assert seal.to_hash("acct-1", TOKEN) != seal.to_hash("acct-1", TOKEN)


@pytest.mark.parametrize("keys", [None, NEW])
async def test_without_the_key_its_id_is_named(
    make_face: MakeFace, publisher: Publisher, keys: str | None
) -> None:
    _put(publisher, TokenSeal.of(OLD).to_hash("acct-1", TOKEN))
    face = make_face(keys=keys)
    for min_lifetime_s in (0, 60):
        with pytest.raises(KeyMissing, match="acct-1: its token is sealed with key 'p1'"):
            await face.get("acct-1", min_lifetime_s)
    found = await face.get_many("acct-1", "nobody")
    assert [type(x) for x in found.values()] == [KeyMissing, UnknownAccount]


def _changed(fields: dict[str, str]) -> dict[str, str]:
    key_id, _, encoded = fields["sealed_access_token"].partition(":")
    sealed = bytearray(base64.b64decode(encoded))
    sealed[-1] ^= 1
    return {**fields, "sealed_access_token": f"{key_id}:{base64.b64encode(sealed).decode()}"}


@pytest.mark.parametrize(
    ("account", "change"),
    [
        ("acct-2", lambda fields: fields),
        ("acct-1", lambda fields: {**fields, "generation": "8"}),
        ("acct-1", _changed),
        ("acct-1", lambda fields: {**fields, "sealed_access_token": "p1:"}),
        ("acct-1", lambda fields: {**fields, "sealed_access_token": "p1:no base64"}),
        ("acct-1", lambda fields: {**fields, "sealed_access_token": fields["sealed_access_token"][:-8]}),
    ],
)
async def test_a_changed_or_moved_token_is_not_opened(
    make_face: MakeFace, publisher: Publisher, account: str, change: Any
) -> None:
    """Whoever can write to Redis must not be able to hand one account's token to another's connector."""
    _put(publisher, change(TokenSeal.of(OLD).to_hash("acct-1", TOKEN)), account)
    with pytest.raises(PayloadUnreadable, match="was changed, or belongs to another account or generation"):
        await make_face(keys=OLD).get(account)


def test_the_golden_file_opens() -> None:
    fields = json.loads((Path(__file__).parents[2] / "contract/golden/token-sealed.json").read_bytes())[
        "fields"
    ]
    assert (
        Token.from_hash(TokenSeal.of(OLD).opened("acct-1", fields)).access_token == "eyJhbGciOi.golden.token"
    )


@pytest.mark.parametrize(
    "keys", ["p1", "p1:", "p1:AAAA", ":" + OLD[3:], f"{OLD},", OLD.replace("=", "%"), "p1:" + "A" * 10_000]
)
def test_wrong_keys_are_refused_and_not_shown(keys: str) -> None:
    with pytest.raises(ValueError) as raised:
        Reader.from_url("redis://127.0.0.1:1/0", keys=keys)
    assert OLD[3:20] not in str(raised.value)
    assert not isinstance(raised.value, NoUsableToken)
