"""A private Redis for the reader's tests."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import redis

from refreshd_reader import AsyncReader, Reader
from tests.integration.reader.acl_server import AclRedisServer
from tests.integration.reader.publisher import Face, Kind, MakeFace, Publisher
from tests.support.services import RedisServer, redis_server


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """The Redis that tests share; each test has a prefix of its own. Who kills it starts one of his own."""
    with redis_server(tmp_path_factory.mktemp("reader")) as running:
        yield running


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis that the test may kill."""
    with redis_server(tmp_path) as running:
        yield running


@pytest.fixture
def publisher(server: RedisServer) -> Iterator[Publisher]:
    with redis.Redis.from_url(server.url, decode_responses=True) as client:
        yield Publisher(client, f"t-{uuid.uuid4().hex}:")


@pytest.fixture(params=["sync", "async"])
def kind(request: pytest.FixtureRequest) -> Kind:
    chosen: Kind = request.param
    return chosen


@pytest.fixture
async def make_face(kind: Kind, server: RedisServer, publisher: Publisher) -> AsyncIterator[MakeFace]:
    async with AsyncExitStack() as stack:

        def make(**options: Any) -> Face:
            options = {"url": server.url, "prefix": publisher.keys.prefix, **options}
            url = options.pop("url")
            made = (Reader if kind == "sync" else AsyncReader).from_url(url, **options)
            face = Face(made)
            stack.push_async_callback(face.close)
            return face

        yield make


@pytest.fixture
def face(make_face: MakeFace) -> Face:
    return make_face()


@pytest.fixture(scope="session")
def acl_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AclRedisServer]:
    server = AclRedisServer(tmp_path_factory.mktemp("acl"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def administrator(acl_server: AclRedisServer) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(acl_server.url, decode_responses=True) as client:
        client.flushall()
        client.acl_log_reset()
        yield client
