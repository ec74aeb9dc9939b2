"""`get` and `get_many`: a token, or the one error that says why there is none."""

from __future__ import annotations

import time
from typing import Any

import pytest
import redis
import redis.asyncio

from refreshd_reader import (
    AccountState,
    AsyncReader,
    Disabled,
    Misconfigured,
    NoUsableToken,
    Paused,
    PayloadUnreadable,
    Reader,
    Reauthorize,
    RedisRefused,
    RedisUnreachable,
    RefreshUnderWay,
    Token,
    TokenTooShort,
    UnknownAccount,
)
from tests.integration.reader.publisher import Face, Kind, MakeFace, Publisher
from tests.support.services import RedisServer, free_port

SINCE = AccountState("reauthorize", 7, "invalid_grant", since=1795485300)


async def test_a_published_token_comes_back_as_it_was_published(face: Face, publisher: Publisher) -> None:
    publisher.publish("acct-1", 7)
    publisher.client.hset(publisher.keys.token("acct-1"), "instance_url", "https://eu1.example.com")
    token = await face.get("acct-1")
    assert (token.access_token, token.token_type, token.generation) == ("access-acct-1-7", "Bearer", 7)
    assert dict(token.extra) == {"instance_url": "https://eu1.example.com"}


@pytest.mark.parametrize("status", ["degraded", "reauthorize", "misconfigured", "disabled"])
async def test_a_token_is_returned_whatever_the_status(face: Face, publisher: Publisher, status: str) -> None:
    publisher.publish("acct-1", 7, status=status)
    assert (await face.get("acct-1")).generation == 7


@pytest.mark.parametrize(
    ("state", "error", "words"),
    [
        (None, UnknownAccount, "acct-1: unknown account"),
        (SINCE, Reauthorize, "acct-1: reauthorize: invalid_grant since 2026-11-24T01:55:00Z"),
        (AccountState("misconfigured", 7, "invalid_client"), Misconfigured, "misconfigured: invalid_client"),
        (AccountState("disabled", 7), Disabled, "acct-1: disabled"),
        (
            AccountState("degraded", 7, "paused", 1795485300, 1795485300),
            Paused,
            "acct-1: paused by an operator, and without a token since 2026-11-24T01:55:00Z: the next one comes",
        ),
        (
            AccountState("active", 0, next_refresh_at=1795485300),
            RefreshUnderWay,
            "next refresh at 2026-11-24T01:55",
        ),
        (AccountState("degraded", 7, "timeout"), RefreshUnderWay, "refresh under way (degraded: timeout)"),
        (AccountState("resting", 7, "of a later version"), NoUsableToken, "resting: of a later version"),
    ],
)
async def test_each_status_without_a_token_has_its_exception(
    face: Face, publisher: Publisher, state: AccountState | None, error: type[NoUsableToken], words: str
) -> None:
    if state is not None:
        publisher.state("acct-1", state)
    with pytest.raises(error) as raised:
        await face.get("acct-1")
    assert type(raised.value) is error
    assert words in str(raised.value)
    assert raised.value.state == state
    assert raised.value.reason == (state.reason if state else None)


async def test_ids_are_case_sensitive(face: Face, publisher: Publisher) -> None:
    publisher.publish("Acct-1", 1)
    with pytest.raises(UnknownAccount):
        await face.get("acct-1")


@pytest.mark.parametrize(
    ("lifetime_s", "min_lifetime_s", "enough"),
    [(600, 0, True), (600, 60, True), (30, 60, False), (None, 1e9, True)],
)
async def test_min_lifetime_s_is_respected(
    face: Face, publisher: Publisher, lifetime_s: float | None, min_lifetime_s: float, *, enough: bool
) -> None:
    publisher.publish("acct-1", 1, lifetime_s=lifetime_s)
    if enough:
        assert (await face.get("acct-1", min_lifetime_s)).generation == 1
        return
    with pytest.raises(TokenTooShort, match=r"lasts (29|30)\.\d s, 60 s were asked for \(active\)") as raised:
        await face.get("acct-1", min_lifetime_s)
    assert 0 < raised.value.lifetime_s <= 30


@pytest.mark.parametrize("min_lifetime_s", [0.0, 60.0])
async def test_the_machines_clock_does_not_end_a_token(
    face: Face, publisher: Publisher, min_lifetime_s: float
) -> None:
    """Redis still has the key for ten minutes: this machine's clock, or the publisher's, is the wrong one."""
    publisher.publish("acct-1", 1)
    publisher.client.hset(publisher.keys.token("acct-1"), "expires_at", str(time.time() - 3600))
    assert (await face.get("acct-1", min_lifetime_s)).generation == 1


async def test_a_token_whose_key_outlived_it_is_not_served(face: Face, publisher: Publisher) -> None:
    """A restored dump, or another publisher, may leave a key without an expiry."""
    publisher.publish("acct-1", 1)
    publisher.client.persist(publisher.keys.token("acct-1"))
    publisher.client.hset(publisher.keys.token("acct-1"), "expires_at", str(time.time() - 1))
    with pytest.raises(RefreshUnderWay):
        await face.get("acct-1")


async def test_many_in_one_round_trip(face: Face, publisher: Publisher) -> None:
    publisher.publish("a", 1)
    publisher.publish("b", 2, lifetime_s=30)
    publisher.state("c", SINCE)
    publisher.client.set(publisher.keys.token("e"), "not a hash")
    await face.get("a")  # connects
    before = _reads_processed(publisher)
    found = await face.get_many("a", "b", "c", "d", "e", "a", min_lifetime_s=60)
    assert [type(x) for x in found.values()] == [
        Token,
        TokenTooShort,
        Reauthorize,
        UnknownAccount,
        PayloadUnreadable,
    ]
    assert list(found) == ["a", "b", "c", "d", "e"]
    assert _reads_processed(publisher) == before + 1 + COUNTING
    assert await face.get_many() == {}


#: The second count is itself a read that Redis processed.
COUNTING = 1


def _reads_processed(publisher: Publisher) -> int:
    stats: dict[str, int] = publisher.client.info("stats")
    return stats["total_reads_processed"]


@pytest.mark.parametrize(
    "fields",
    [
        {"generation": "1"},
        {"access_token": "t"},
        {"access_token": "t", "generation": "one"},
        {"access_token": "t", "generation": "1", "expires_at": "soon"},
        {"access_token": "t", "generation": "1", "expires_at": "inf"},
        {"access_token": b"\xff", "generation": "1"},
    ],
)
async def test_an_unreadable_payload_is_named_and_not_quoted(
    face: Face, publisher: Publisher, fields: dict[Any, Any]
) -> None:
    publisher.client.hset(publisher.keys.token("acct-1"), mapping=fields)
    with pytest.raises(PayloadUnreadable, match=r"acct-1: its token hash in Redis has") as raised:
        await face.get("acct-1")
    assert "soon" not in str(raised.value)


async def test_a_key_of_another_type_is_named(face: Face, publisher: Publisher) -> None:
    publisher.client.set(publisher.keys.token("acct-1"), "x")
    for min_lifetime_s in (0, 60):
        with pytest.raises(PayloadUnreadable, match="not a hash"):
            await face.get("acct-1", min_lifetime_s)


async def test_an_absent_redis_is_unreachable(make_face: MakeFace) -> None:
    face = make_face(url=f"redis://127.0.0.1:{free_port()}/0", timeout_s=0.5)
    for call in (face.get("a"), face.get("a", 60), face.get_many("a"), face.report_rejected("a", 1, 401)):
        with pytest.raises(RedisUnreachable, match="does not answer"):
            await call


async def test_a_wrong_login_is_refused_and_not_shown(make_face: MakeFace, server: RedisServer) -> None:
    face = make_face(url=f"redis://:not-the-password@127.0.0.1:{server.port}/0")
    with pytest.raises(RedisRefused) as raised:
        await face.get("a")
    assert "not-the-password" not in str(raised.value)


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("decode", [False, True])
async def test_any_redis_client_is_accepted(
    kind: Kind, server: RedisServer, publisher: Publisher, protocol: int, *, decode: bool
) -> None:
    """And it stays open when the reader is closed: it is its owner's."""
    publisher.publish("acct-1", 1)
    if kind == "sync":
        with redis.Redis.from_url(server.url, protocol=protocol, decode_responses=decode) as client:
            with Reader(client, prefix=publisher.keys.prefix) as reader:
                assert reader.get("acct-1", 60) == reader.get("acct-1")
            assert client.ping()
        return
    async with redis.asyncio.Redis.from_url(
        server.url, protocol=protocol, decode_responses=decode
    ) as open_client:
        async with AsyncReader(open_client, prefix=publisher.keys.prefix) as open_reader:
            assert await open_reader.get("acct-1", 60) == await open_reader.get("acct-1")
        assert await open_client.ping()


async def test_no_repr_shows_a_token(face: Face, publisher: Publisher) -> None:
    publisher.publish("acct-1", 1)
    found = await face.get_many("acct-1")
    assert "access-acct-1-1" not in f"{found!r} {face.reader!r} {await face.get('acct-1')}"
