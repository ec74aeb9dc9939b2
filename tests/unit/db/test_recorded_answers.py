"""Answers as servers sent them, each over a real socket, and what must come of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from models.answer import Answer
from tests.support.providers.provider_double import NOW, account, provider
from tests.support.providers.provider_server import serving
from tests.support.recorded import Recorded, came_of, recorded
from worker.providers.client import ProviderClient
from worker.providers.http1.parser import BrokeHTTP, ResponseParser

ANSWERS = recorded()
#: Facts of which a file names a piece.
PIECES = {"note", "output"}
#: What one refresh must never make of an answer that says nothing of it.
UNNAMED = (
    "access_token",
    "refresh_token",
    "expires_in_s",
    "expires_at",
    "lone_refresh_token",
    "error",
    "fault",
)


@pytest.fixture
async def client() -> AsyncIterator[ProviderClient]:
    client = ProviderClient(allow_http_hosts=["localhost"], now=lambda: NOW)
    yield client
    await client.aclose()


async def replay(client: ProviderClient, one: Recorded, pieces: int = 0) -> Answer:
    async def respond(_: bytes, writer: asyncio.StreamWriter) -> None:
        step = pieces or max(len(one.raw), 1)
        for at in range(0, len(one.raw), step):
            writer.write(one.raw[at : at + step])
            await writer.drain()
            await asyncio.sleep(0)
        if one.closes:
            writer.close()

    async with serving(respond) as server:
        request = account(provider(), token_url=server.url)
        return await client.call(request, deadline=asyncio.get_running_loop().time() + 10)


@pytest.mark.parametrize("one", ANSWERS, ids=lambda one: one.name)
async def test_an_answer_is_understood(client: ProviderClient, one: Recorded) -> None:
    assert "verdict" in one.expected, "each file names what follows"
    came = came_of(await replay(client, one), refreshed_before=one.refreshed_before)
    for name, value in one.expected.items():
        assert (value in came[name]) if name in PIECES else (came[name] == value), (name, came)
    assert {name: came[name] for name in UNNAMED if name not in one.expected} == dict.fromkeys(
        [name for name in UNNAMED if name not in one.expected], "none"
    )


@pytest.mark.parametrize("one", ANSWERS, ids=lambda one: one.name)
def test_the_pieces_in_which_an_answer_arrives_change_nothing(one: Recorded) -> None:
    whole = _parsed(one, len(one.raw) or 1)
    for step in (1, 2, 7, 100):
        assert _parsed(one, step) == whole


def _parsed(one: Recorded, step: int) -> tuple[object, ...]:
    parser = ResponseParser()
    body = b""
    try:
        for at in range(0, len(one.raw), step):
            parser.feed(one.raw[at : at + step])
            body += parser.take()
        if one.closes:
            parser.end()
    except (BrokeHTTP, ConnectionError) as error:
        return (type(error), str(error))
    return (parser.head, body + parser.surplus, parser.complete)


async def test_an_answer_that_was_odd_is_followed_by_none_on_its_connection(client: ProviderClient) -> None:
    """What lies behind it could be taken for the next account's answer."""
    odd = next(one for one in ANSWERS if one.name == "bytes-behind-the-answer")
    assert (await replay(client, odd)).token is not None

    async def respond(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(odd.raw)

    async with serving(respond) as server:
        for _ in range(3):
            answer = await client.call(
                account(provider(), token_url=server.url), deadline=asyncio.get_running_loop().time() + 10
            )
            assert answer.token is not None
        assert server.connections == 3
