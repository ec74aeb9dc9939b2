"""Real stores for every test that does io: one Redis and one PostgreSQL a session, a database of its own a test."""

from __future__ import annotations

import gc
import itertools
import signal
import subprocess
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Final

import pytest
import redis

from tests.support.clusters import RedisCluster, redis_cluster
from tests.support.database_pool import DatabasePool
from tests.support.examples import register_profiles
from tests.support.forked import forking
from tests.support.providers.certificates import Authority
from tests.support.server_binaries import ServerMissing, postgres_binaries, redis_binary
from tests.support.services import PostgresServer, RedisServer, postgres_server, redis_server
from worker.db.engine import make_engine
from worker.db.migrate import upgrade

# A shell that starts this in the background, or nohup, has these ignored, and so would every process that tests signal.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

# `--hypothesis-profile` chooses another one, before any test is imported.
register_profiles()

_numbers = itertools.count()
_REDIS_DATABASES = 16


@pytest.fixture(scope="session", autouse=True)
def forked_processes() -> Iterator[None]:
    """Have workers and commands forked where their start is not what is tested."""
    with forking():
        yield


@pytest.fixture(scope="session")
def authority() -> Authority:
    """Whom the TLS of tests is signed by."""
    return Authority()


@pytest.fixture(scope="session")
def ca_file(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("authority") / "ca.pem"
    path.write_text(authority.certificate)
    return path


@pytest.fixture(scope="session")
def redis_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="session")
def cluster_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisCluster]:
    """A Redis Cluster of three primaries; tests name accounts of their own."""
    with redis_cluster(tmp_path_factory.mktemp("cluster"), replicas=False) as made:
        yield made


@pytest.fixture(scope="session")
def postgres_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    with postgres_server(tmp_path_factory.mktemp("postgres")) as server:
        yield server


@pytest.fixture(scope="session")
def postgres_template(postgres_service: PostgresServer) -> str:
    """A database with the schema, to copy from: cheaper than a migration a test."""
    upgrade(postgres_service.create_database("template"))
    return "template"


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sqlite") / "template.db"
    upgrade(f"sqlite:///{path}")
    engine = make_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    engine.dispose()
    return path


@pytest.fixture
def redis_url(redis_service: RedisServer) -> str:
    """A Redis database with nothing in it."""
    url = redis_service.url_of(next(_numbers) % _REDIS_DATABASES)
    client = redis.Redis.from_url(url)
    client.flushdb()
    client.close()
    return url


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """A migrated database of this test alone, on each of the two that we support."""
    if request.param == "sqlite":
        yield request.getfixturevalue("sqlite_url")
    else:
        yield request.getfixturevalue("postgres_url")


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    path = tmp_path / "refreshd.db"
    path.write_bytes(sqlite_template.read_bytes())
    return f"sqlite:///{path}"


@pytest.fixture(scope="session")
def databases(postgres_service: PostgresServer, postgres_template: str) -> DatabasePool:
    return DatabasePool(postgres_service, postgres_template)


@pytest.fixture
def postgres_url(request: pytest.FixtureRequest, databases: DatabasePool) -> Iterator[str]:
    # A process that outlived its test would write into the next one's.
    with databases.database(own=request.node.get_closest_marker("e2e") is not None) as url:
        yield url


#: Fixtures that are, or talk to, a Redis or PostgreSQL that a test starts.
_SERVERS: Final = frozenset(
    {
        *("redis_service", "postgres_service", "own_redis", "own_postgres", "redis_container"),
        *("server", "own_server", "acl_server", "cluster", "cluster_service"),
    }
)
#: Parameters by which a test takes PostgreSQL.
_ON_POSTGRESQL: Final = frozenset({"postgresql", "postgres_fleet", "postgres_url"})
#: Fixtures that start processes of refreshd: Celery workers, beat, Flower.
_PROCESSES: Final = frozenset({"world", "make_world", "sqlite_fleet", "sqlite_world", "operators_worker"})
#: Tests that start processes, or build and install, without a fixture that says so.
_OF_PROCESSES: Final = (
    "tests/e2e/",
    "tests/oidc/",
    "tests/contract/leaks/test_leaks.py",
    "tests/deploy/test_going_back.py",
    "tests/deploy/test_image.py",
    "tests/deploy/test_wheels.py",
    "tests/integration/callbacks/test_examples.py",
    "tests/integration/reader/test_wheel.py",
    "tests/integration/test_services.py",
)
#: Modules that take half a minute and more, the longest first: they begin in this order, so that a run does not end with
#: one of them alone.
_LONG: Final = (
    "tests/e2e/test_explained_situations.py",
    "tests/e2e/test_demo.py",
    "tests/e2e/test_provider_down.py",
    "tests/e2e/test_promoted_replica.py",
    "tests/e2e/test_platforms.py",
    "tests/oidc/test_platform_express.py",
    "tests/e2e/test_callbacks_in_production.py",
    "tests/e2e/test_two_releases.py",
    "tests/contract/leaks/test_leaks.py",
    "tests/e2e/test_sick_neighbours.py",
    "tests/e2e/test_database_outage.py",
    "tests/e2e/test_killed_worker.py",
    "tests/e2e/test_killed_api.py",
)


def pytest_report_header() -> str:
    """Name the servers that this run has: where they differ, what passes on one may fail on another."""
    found = []
    for binary in (redis_binary, lambda: postgres_binaries() / "postgres"):
        try:
            found.append(
                subprocess.run([binary(), "--version"], capture_output=True, text=True, check=False).stdout
            )
        except (ServerMissing, OSError) as error:
            found.append(str(error))
    return "servers: " + "; ".join(text.strip() for text in found)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Leave modules and tests, which stay to the end, out of garbage collection; what tests leave is still found."""
    gc.disable()
    result = yield
    gc.freeze()
    gc.enable()
    return result


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark tests by what they need: `e2e` for processes of refreshd, `integration` for a Redis or PostgreSQL.

    Long ones go first.
    """
    places = {config.rootpath / name: place for place, name in enumerate(_LONG)}
    items.sort(key=lambda item: places.get(item.path, len(places)))
    for item in items:
        fixtures = set(getattr(item, "fixturenames", ()))
        parameters = item.callspec.params if hasattr(item, "callspec") else {}
        where = item.path.relative_to(config.rootpath).as_posix()
        if fixtures & _PROCESSES or where.startswith(_OF_PROCESSES):
            item.add_marker(pytest.mark.e2e)
        elif fixtures & _SERVERS or _ON_POSTGRESQL & {v for v in parameters.values() if isinstance(v, str)}:
            item.add_marker(pytest.mark.integration)
