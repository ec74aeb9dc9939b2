"""Each service's own command starts as a process against loopback servers, becomes healthy, and stops when told."""

from __future__ import annotations

import base64
import secrets
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import httpx
import psutil
import pytest
import redis

from tests.deploy.compose_file import ROOT, services
from tests.deploy.service import Service
from tests.deploy.test_compose import seconds
from tests.server_binaries import redis_binary
from tests.server_process import free_port
from tests.services import PostgresServer, RedisServer

LOGIN: Final = ("operator", "flower-password")


@pytest.fixture(scope="module")
def definitions(redis_service: RedisServer, postgres_service: PostgresServer) -> dict[str, Any]:
    """Give the services as compose.yaml defines them, but for the two addresses."""
    postgres_service.create_database("refreshd")
    found = services(
        {
            "POSTGRES_PASSWORD": postgres_service.password,
            "REDIS_PASSWORD": redis_service.password,
            "REFRESHD_KEYS": f"k1:{base64.b64encode(secrets.token_bytes(32)).decode()}",
            "REFRESHD_FLOWER_BASIC_AUTH": ":".join(LOGIN),
        }
    )
    for definition in found.values():
        environment = definition["environment"]
        for name, value in environment.items():
            environment[name] = value.replace("@redis:6379/", f"@127.0.0.1:{redis_service.port}/").replace(
                "@postgres:5432/", f"@127.0.0.1:{postgres_service.port}/"
            )
    return found


@pytest.fixture(scope="module")
def migrated(definitions: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> str:
    """Give what the migration printed."""
    return Service("migrate", definitions["migrate"], tmp_path_factory.mktemp("migrate")).run_once()


def test_migrate_ends_with_the_schema_in_place(migrated: str) -> None:
    assert "revision" in migrated


@pytest.mark.usefixtures("migrated")
@pytest.mark.parametrize("name", ["worker", "callback", "beat"])
def test_it_becomes_healthy_and_ends_by_sigterm_within_its_grace_period(
    name: str, definitions: dict[str, Any], tmp_path: Path
) -> None:
    definition = definitions[name]
    service = Service(name, definition, tmp_path)
    with service.running():
        service.wait_healthy()
        assert service.terminate(within_s=seconds(definition["stop_grace_period"])) == 0
    assert "Traceback" not in service.said


def test_a_worker_whose_file_is_old_is_not_healthy(definitions: dict[str, Any], tmp_path: Path) -> None:
    service = Service("worker", definitions["worker"], tmp_path)
    file = service.folder / "worker-refresh@host.alive"
    file.touch()
    assert service.healthy()
    subprocess.run(["touch", "-d", "-4 minutes", file], check=True)
    assert not service.healthy()


def test_flower_shows_nothing_without_the_login(definitions: dict[str, Any], tmp_path: Path) -> None:
    port = free_port()
    service = Service("flower", definitions["flower"], tmp_path, REFRESHD_FLOWER_PORT=str(port))
    with service.running():
        service.wait_healthy()
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as stranger:
            pages = ("/", "/workers", "/tasks", "/broker", "/api/workers", "/api/tasks")
            assert {page: stranger.get(page).status_code for page in pages} == dict.fromkeys(pages, 401)
            assert stranger.get("/workers", auth=("operator", "wrong")).status_code == 401
            assert stranger.get("/workers", auth=LOGIN).status_code == 200
        assert service.terminate(within_s=10) == 0


@pytest.fixture
def redis_container(
    definitions: dict[str, Any], tmp_path: Path
) -> tuple[Service, Callable[[str], redis.Redis]]:
    """Give the service `redis`, its folders in `tmp_path`, and a way to connect to it."""
    mounted = tmp_path / "etc"
    shutil.copytree(ROOT / "deploy/redis", mounted)
    data = tmp_path / "data"
    data.mkdir()
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "valkey-server").symlink_to(redis_binary())
    port = free_port()
    config = mounted / "redis.conf"
    config.write_text(config.read_text().replace("dir /data", f"dir {data}") + f"port {port}\n")
    service = Service("redis", definitions["redis"], tmp_path)
    service.command = [word.replace("/etc/refreshd", str(mounted)) for word in service.command]
    service.environment["PATH"] = f"{tools}:{service.environment['PATH']}"
    return service, lambda password: redis.Redis(port=port, password=password, decode_responses=True)


def answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except (redis.ConnectionError, redis.BusyLoadingError):
        return False


def test_redis_asks_for_the_password_keeps_what_it_took_and_evicts_nothing(
    redis_container: tuple[Service, Callable[[str], redis.Redis]],
) -> None:
    service, connect = redis_container
    password = service.environment["REDIS_PASSWORD"]
    with connect(password) as client, service.running():
        service.wait_until(lambda: answers(client))
        settings = client.config_get("appendonly", "maxmemory", "maxmemory-policy")
        assert settings == {
            "appendonly": "yes",
            "maxmemory": str(512 * 1024 * 1024),
            "maxmemory-policy": "noeviction",
        }
        with pytest.raises(redis.AuthenticationError), connect("wrong") as stranger:
            stranger.ping()
        assert password not in " ".join(psutil.Process(service.pid).cmdline())
