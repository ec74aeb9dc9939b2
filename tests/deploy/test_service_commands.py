"""Each service's own command starts as a process against loopback servers, becomes healthy, and stops when told."""

from __future__ import annotations

import base64
import json
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import psutil
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.deploy.compose_file import ROOT, services
from tests.deploy.service import Service
from tests.deploy.test_compose import seconds
from tests.support.server_binaries import redis_binary
from tests.support.server_process import free_port
from tests.support.services import PostgresServer

LOGIN: Final = ("operator", "flower-password")


@pytest.fixture(scope="module")
def secrets_of_env() -> dict[str, str]:
    """Return what .env holds."""
    passwords = ("REDIS", "REDIS_WORKER", "REDIS_WATCHER", "REDIS_CONNECTOR", "REDIS_API", "POSTGRES_API")
    return {
        **{f"{name}_PASSWORD": secrets.token_hex(12) for name in passwords},
        "REFRESHD_KEYS": f"k1:{base64.b64encode(secrets.token_bytes(32)).decode()}",
        "REFRESHD_FLOWER_BASIC_AUTH": ":".join(LOGIN),
        "GRAFANA_PASSWORD": secrets.token_hex(12),
    }


@pytest.fixture(scope="module")
def definitions(
    secrets_of_env: dict[str, str], postgres_service: PostgresServer, redis_port: int
) -> dict[str, Any]:
    """Return the services as compose.yaml defines them, but for the two addresses."""
    postgres_service.create_database("refreshd")
    found = services({**secrets_of_env, "POSTGRES_PASSWORD": postgres_service.password})
    for definition in found.values():
        environment = definition["environment"]
        for name, value in environment.items():
            environment[name] = value.replace("@redis:6379/", f"@127.0.0.1:{redis_port}/").replace(
                "@postgres:5432/", f"@127.0.0.1:{postgres_service.port}/"
            )
    return found


@pytest.fixture(scope="module")
def redis_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def redis_container(
    definitions: dict[str, Any], redis_port: int, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    """Return the service `redis`, running; what the image holds and the container mounts is in a folder."""
    folder = tmp_path_factory.mktemp("container")
    mounted, data, tools = (folder / name for name in ("etc", "data", "bin"))
    shutil.copytree(ROOT / "deploy/redis", mounted)
    data.mkdir()
    tools.mkdir()
    (tools / "valkey-server").symlink_to(redis_binary())
    config = mounted / "redis.conf"
    config.write_text(config.read_text().replace("dir /data", f"dir {data}") + f"port {redis_port}\n")
    service = Service("redis", definitions["redis"], folder)
    service.command = [word.replace("/etc/refreshd", str(mounted)) for word in service.command]
    service.environment["PATH"] = f"{tools}:{service.environment['PATH']}"
    with service.running():
        with redis_client(service, redis_port, "refreshd-connector", "REDIS_CONNECTOR") as connector:
            service.wait_until(lambda: answers(connector))
        yield service


def redis_client(service: Service, port: int, user: str, variable: str) -> redis.Redis:
    password = service.environment[f"{variable}_PASSWORD"]
    return redis.Redis(port=port, username=user, password=password, decode_responses=True)


def answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except (redis.ConnectionError, redis.BusyLoadingError):
        return False


@pytest.fixture(scope="module")
def migrated(definitions: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return what the migration printed."""
    return Service("migrate", definitions["migrate"], tmp_path_factory.mktemp("migrate")).run_once()


def test_migrate_ends_with_the_schema_in_place(migrated: str) -> None:
    assert "revision" in migrated


@pytest.mark.usefixtures("migrated", "redis_container")
@pytest.mark.parametrize("name", ["worker", "callback", "beat"])
def test_it_becomes_healthy_and_ends_by_sigterm_within_its_grace_period(
    name: str, definitions: dict[str, Any], tmp_path: Path
) -> None:
    definition = definitions[name]
    port = free_port()
    service = Service(name, definition, tmp_path, REFRESHD_METRICS_PORT=str(port))
    with service.running():
        service.wait_healthy()
        if name != "beat":
            service.wait_until(lambda: "refreshd_refreshes_total" in metrics_at(port))
        assert service.terminate(within_s=seconds(definition["stop_grace_period"])) == 0
    assert "Traceback" not in service.said


@pytest.mark.usefixtures("migrated", "redis_container")
def test_the_exporter_reads_both_stores_with_the_rights_that_it_has(
    definitions: dict[str, Any], tmp_path: Path
) -> None:
    row = {"id": "acct-e", "refresh_token": "r", "token_url": "https://provider.invalid/token"}
    Service("worker", definitions["worker"], tmp_path).execute(
        "refreshd", "accounts", "import", "-", given=json.dumps(row | {"session_management": "none"})
    )
    port = free_port()
    service = Service("exporter", definitions["exporter"], tmp_path, REFRESHD_EXPORTER_PORT=str(port))
    with service.running():
        service.wait_healthy()
        told = metrics_at(port)
        assert service.terminate(within_s=10) == 0
    assert 'refreshd_up{store="database"} 1.0' in told
    assert 'refreshd_up{store="redis"} 1.0' in told
    assert 'refreshd_breaker_open{provider="' in told
    assert "Traceback" not in service.said


def metrics_at(port: int) -> str:
    """Return what is served there; nothing where nobody serves yet."""
    try:
        return httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False, timeout=30).text
    except httpx.TransportError:
        return ""


def test_a_worker_whose_file_is_old_is_not_healthy(definitions: dict[str, Any], tmp_path: Path) -> None:
    service = Service("worker", definitions["worker"], tmp_path)
    file = service.folder / "worker-refresh@host.alive"
    file.touch()
    assert service.healthy()
    subprocess.run(["touch", "-d", "-4 minutes", file], check=True)
    assert not service.healthy()


@pytest.mark.usefixtures("migrated", "redis_container")
def test_the_commands_of_the_deployment_page_work_beside_a_worker(
    definitions: dict[str, Any], tmp_path: Path
) -> None:
    service = Service("worker", definitions["worker"], tmp_path)
    row = json.dumps(
        {
            "id": "acct-1",
            "client_id": "app",
            "client_secret": "s",
            "refresh_token": "r",
            "token_url": "https://provider.invalid/token",
            "session_management": "none",
        }
    )
    summary = json.loads(service.execute("refreshd", "accounts", "import", "--json", "-", given=row))
    assert (summary["added"], summary["failed"]) == (1, 0)
    assert json.loads(service.execute("refreshd", "status", "--json"))
    assert "acct-1" in service.execute("refreshd", "accounts", "list")


@pytest.mark.usefixtures("redis_container")
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


def test_redis_keeps_what_it_took_and_evicts_nothing(redis_container: Service, redis_port: int) -> None:
    with redis_client(redis_container, redis_port, "administrator", "REDIS") as client:
        assert client.config_get("appendonly", "maxmemory", "maxmemory-policy") == {
            "appendonly": "yes",
            "maxmemory": str(512 * 1024 * 1024),
            "maxmemory-policy": "noeviction",
        }


def test_redis_knows_the_users_and_nobody_else(redis_container: Service, redis_port: int) -> None:
    users = ("worker", "watcher", "connector")
    for user in users:
        with redis_client(redis_container, redis_port, f"refreshd-{user}", f"REDIS_{user.upper()}") as client:
            assert client.ping()
    impatient = Retry(NoBackoff(), 0)
    with redis.Redis(port=redis_port, retry=impatient) as stranger, pytest.raises(redis.AuthenticationError):
        stranger.ping()


def test_no_password_stands_on_the_command_line_of_redis(redis_container: Service) -> None:
    command = " ".join(psutil.Process(redis_container.pid).cmdline())
    passwords = [value for name, value in redis_container.environment.items() if name.endswith("_PASSWORD")]
    assert passwords
    assert not [password for password in passwords if password in command]
