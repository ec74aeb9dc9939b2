"""A bounded number of connections serves any number of readers at once; without a free one in time the error is raised."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from refreshd_reader import AsyncReader, Reader, RedisUnreachable
from tests.integration.reader.publisher import Face, MakeFace, Publisher


async def test_three_connections_serve_hundreds(make_face: MakeFace, publisher: Publisher) -> None:
    face = make_face(max_connections=3)
    publisher.publish("acct-1", 1)
    reads = [face.get("acct-1", min_lifetime_s) for min_lifetime_s in (0, 60) for _ in range(200)]
    assert {token.generation for token in await asyncio.gather(*reads)} == {1}
    assert _connections(face) <= 3


def _pool(face: Face) -> Any:
    client: Any = face.reader._client
    return client.connection_pool


def _connections(face: Face) -> int:
    pool = _pool(face)
    return len(pool._available_connections) + len(pool._in_use_connections)


async def test_no_free_connection_in_time_is_an_error(make_face: MakeFace, publisher: Publisher) -> None:
    face = make_face(max_connections=1, timeout_s=0.1)
    publisher.publish("acct-1", 1)
    pool = _pool(face)
    taken = pool.get_connection() if isinstance(face.reader, Reader) else await pool.get_connection()
    with pytest.raises(RedisUnreachable, match=r"no connection was free within 0\.1 s"):
        await face.get("acct-1")
    waiting = asyncio.create_task(face.get("acct-1"))
    await asyncio.sleep(0)
    released = pool.release(taken)
    if isinstance(face.reader, AsyncReader):
        await released
    assert (await waiting).generation == 1
