"""Real worker and beat processes, on real stores, against a scripted provider."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.fleet import Fleet
from tests.support.providers.scripted_provider import ScriptedProvider
from tests.support.services import PostgresServer, postgres_server
from tests.support.world import World

MakeWorld = Callable[..., World]


@pytest.fixture
def provider() -> Iterator[ScriptedProvider]:
    with ScriptedProvider() as made:
        yield made


@pytest.fixture
def own_postgres(tmp_path: Path) -> Iterator[PostgresServer]:
    """A PostgreSQL that the test may stop."""
    with postgres_server(tmp_path) as server:
        yield server


@pytest.fixture
def make_world(provider: ScriptedProvider, tmp_path: Path) -> Iterator[MakeWorld]:
    """Make a world on stores of the test's own."""
    made: list[World] = []

    def make(database_url: str, redis_url: str, **settings: str) -> World:
        made.append(World(database_url, redis_url, tmp_path, provider, **settings))
        return made[-1]

    yield make
    for world in made:
        world.close()


@pytest.fixture
def world(make_world: MakeWorld, database_url: str, redis_url: str) -> World:
    """A world on each of the two databases."""
    return make_world(database_url, redis_url, requests_per_s="1000")


@pytest.fixture
def fleet(world: World, tmp_path: Path) -> Iterator[Fleet]:
    with Fleet(world.environment, tmp_path) as made:
        yield made


@pytest.fixture
def sqlite_world(make_world: MakeWorld, sqlite_url: str, redis_url: str) -> World:
    """A world for what does not depend on the database."""
    return make_world(sqlite_url, redis_url, requests_per_s="1000")


@pytest.fixture
def sqlite_fleet(sqlite_world: World, tmp_path: Path) -> Iterator[Fleet]:
    with Fleet(sqlite_world.environment, tmp_path) as made:
        yield made
