"""compose.yaml keeps its promises: the official schema, no secret, least privilege, and every setting within reach."""

from __future__ import annotations

import json
import re
import subprocess
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import jsonschema
import pytest
from pydantic import SecretStr

from tests.deploy.compose_file import ROOT, VariableMissing, raw, services
from worker.crypto.cipher import generate_key, parse_keys
from worker.settings import Settings

#: The least that an .env must hold.
REQUIRED: Final = {
    "POSTGRES_PASSWORD": "pg-marker",
    "POSTGRES_API_PASSWORD": "pg-api-marker",
    "REDIS_PASSWORD": "redis-marker",
    "REDIS_WORKER_PASSWORD": "redis-worker-marker",
    "REDIS_WATCHER_PASSWORD": "redis-watcher-marker",
    "REDIS_CONNECTOR_PASSWORD": "redis-connector-marker",
    "REDIS_API_PASSWORD": "redis-api-marker",
    "REFRESHD_KEYS": "k1:key-marker",
    "REFRESHD_FLOWER_BASIC_AUTH": "operator:flower-marker",
    "GRAFANA_PASSWORD": "grafana-marker",
}
OURS: Final = ("migrate", "worker", "callback", "beat", "flower", "api", "exporter")
THEIRS: Final = ("redis", "postgres", "api-role", "prometheus", "grafana")
MONITORING: Final = ("exporter", "prometheus", "grafana")
#: They need the public intake key in .env first.
API: Final = ("api-role", "api")
LONG_RUNNING: Final = tuple(name for name in (*OURS, *THEIRS) if name not in {"migrate", "api-role"})
#: Variables whose value is a secret or holds one.
SECRET: Final = re.compile(r"PASSWORD|KEYS|BASIC_AUTH|_URL")
#: Settings that no worker needs from .env, and why.
NOT_FOR_WORKERS: Final = {
    "keys_file": "`make env` makes REFRESHD_KEYS; one source of keys is set",
    "keys_command": "as keys_file",
    "intake_key": "of a process without REFRESHD_KEYS; a worker has what opens",
    "database_password_command": "the database is compose's own, its password is in .env",
    "data_dir": "set by the image",
    "redis_prefix": "Redis is refreshd's own here, and users.acl names the keys",
    "broker_url": "the one Redis has tokens and tasks here",
    "flower_port": "Flower's",
    "flower_address": "Flower's",
    "flower_basic_auth": "Flower's",
    "exporter_port": "the exporter's",
}


def seconds(duration: str) -> float:
    value, unit = re.fullmatch(r"(\d+)(s|m)", duration).groups()  # type: ignore[union-attr]
    return float(value) * {"s": 1, "m": 60}[unit]


@pytest.fixture(scope="module")
def running() -> dict[str, Any]:
    return services(REQUIRED)


def test_it_is_valid_by_the_official_schema() -> None:
    schema = files("check_jsonschema") / "builtin_schemas/vendor/compose-spec.json"
    jsonschema.validate(raw(), json.loads(schema.read_text()))


@pytest.mark.parametrize("missing", REQUIRED)
def test_what_is_missing_is_named_with_what_to_do(missing: str) -> None:
    with pytest.raises(VariableMissing, match=rf"{missing}: run `make env`"):
        services({name: value for name, value in REQUIRED.items() if name != missing})


def test_no_secret_stands_in_the_file() -> None:
    for name, service in raw()["services"].items():
        for variable, value in service["environment"].items():
            if SECRET.search(variable):
                # Without a value: taken from .env, where it is optional.
                assert value is None or ":?" in value, (
                    f"{name}: {variable} is not taken from a required variable"
                )


@pytest.mark.parametrize("name", OURS + THEIRS)
def test_no_secret_stands_on_a_command_line(running: dict[str, Any], name: str) -> None:
    assert "marker" not in json.dumps([running[name].get("command"), running[name].get("healthcheck")])


@pytest.mark.parametrize("name", OURS + THEIRS)
def test_a_container_can_do_as_little_as_possible(running: dict[str, Any], name: str) -> None:
    service = running[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service.get("user") != "root"
    assert "privileged" not in service


@pytest.mark.parametrize("name", OURS + THEIRS)
def test_a_container_can_not_take_the_machine(running: dict[str, Any], name: str) -> None:
    assert {"cpus", "memory", "pids"} <= running[name]["deploy"]["resources"]["limits"].keys()
    assert "max-size" in running[name]["logging"]["options"]


@pytest.mark.parametrize("name", LONG_RUNNING)
def test_what_should_run_is_watched_and_comes_back(running: dict[str, Any], name: str) -> None:
    assert running[name]["restart"] == "always"
    assert running[name]["healthcheck"]["test"][0] in {"CMD", "CMD-SHELL"}


@pytest.mark.parametrize("name", ["worker", "callback"])
def test_a_worker_may_end_its_calls_before_it_is_killed(running: dict[str, Any], name: str) -> None:
    call_timeout_s = Settings.model_fields["call_timeout_s"].default
    assert seconds(running[name]["stop_grace_period"]) > call_timeout_s + 10
    assert running[name].get("stop_signal", "SIGTERM") == "SIGTERM"


def test_workers_start_on_a_migrated_database(running: dict[str, Any]) -> None:
    for name in ("worker", "callback", "beat"):
        assert running[name]["depends_on"]["migrate"]["condition"] == "service_completed_successfully"


@pytest.mark.parametrize("name", ["beat", "flower"])
def test_beat_and_flower_get_no_database_no_key_and_no_token(running: dict[str, Any], name: str) -> None:
    environment = running[name]["environment"]
    assert not {"REFRESHD_DATABASE_URL", "REFRESHD_KEYS"} & environment.keys()
    assert "refreshd-watcher:" in environment["REFRESHD_REDIS_URL"]


def test_what_is_published_listens_on_loopback_unless_asked_otherwise(running: dict[str, Any]) -> None:
    published = [port for service in running.values() for port in service.get("ports", [])]
    assert len(published) == 5
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_monitoring_and_the_api_start_only_where_they_are_asked_for(running: dict[str, Any]) -> None:
    profiles = {name: service["profiles"] for name, service in running.items() if "profiles" in service}
    assert profiles == {name: ["monitoring"] for name in MONITORING} | {name: ["api"] for name in API}


def test_the_exporter_gets_no_key_and_may_not_read_a_token(running: dict[str, Any]) -> None:
    environment = running["exporter"]["environment"]
    assert "REFRESHD_KEYS" not in environment
    assert "refreshd-watcher:" in environment["REFRESHD_REDIS_URL"]


def test_the_api_gets_no_key_and_a_role_and_a_user_of_its_own(running: dict[str, Any]) -> None:
    environment = running["api"]["environment"]
    assert (
        not {"REFRESHD_KEYS", "REFRESHD_KEYS_FILE", "REFRESHD_PUBLISH_KEYS", "REFRESHD_WEBHOOK_URL"}
        & environment.keys()
    )
    assert "refreshd_api:" in environment["REFRESHD_DATABASE_URL"]
    assert "refreshd-api:" in environment["REFRESHD_REDIS_URL"]
    assert not re.search("marker", json.dumps(running["api"]["command"]))


def test_databases_are_not_reached_from_the_networks_of_others(running: dict[str, Any]) -> None:
    assert raw()["networks"]["data"] == {"internal": True}
    assert running["postgres"]["networks"] == ["data"]


@pytest.mark.parametrize("name", ["worker", "callback"])
def test_every_setting_can_be_made_in_the_env_file(name: str) -> None:
    wanted = {f"REFRESHD_{field}".upper() for field in Settings.model_fields.keys() - NOT_FOR_WORKERS.keys()}
    assert wanted <= raw()["services"][name]["environment"].keys()


def test_an_optional_setting_reaches_the_worker_only_where_it_is_made(running: dict[str, Any]) -> None:
    assert "REFRESHD_GROUP_SIZE" not in running["worker"]["environment"]
    made = services({**REQUIRED, "REFRESHD_GROUP_SIZE": "20"})
    assert made["worker"]["environment"]["REFRESHD_GROUP_SIZE"] == "20"


def test_every_queue_is_emptied_and_urgent_comes_first(running: dict[str, Any]) -> None:
    queues = {
        name: next(word for word in running[name]["command"] if word.startswith("--queues="))[9:].split(",")
        for name in ("worker", "callback")
    }
    assert queues == {"worker": ["urgent", "control", "refresh"], "callback": ["callback"]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return an empty folder with what `make env` needs."""
    (tmp_path / "deploy").mkdir()
    for name in (".env.example", "deploy/env.sh"):
        (tmp_path / name).write_text((ROOT / name).read_text())
    return tmp_path


def make_env(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/bin/sh", "deploy/env.sh"], cwd=folder, capture_output=True, text=True, check=False
    )


def test_make_env_keeps_the_keys_of_refreshd_up_behind_the_new_one(folder: Path) -> None:
    made = generate_key()
    (folder / ".refreshd").mkdir()
    (folder / ".refreshd/keys").write_text(f"{made}\n")
    assert make_env(folder).returncode == 0
    [line] = [one for one in (folder / ".env").read_text().splitlines() if one.startswith("REFRESHD_KEYS=")]
    keys = line.removeprefix("REFRESHD_KEYS=")
    assert list(parse_keys(keys))[1:] == list(parse_keys(made)), "`up` reads .env, and opens what it sealed"


def test_make_env_writes_all_that_is_required_new_each_time_and_for_its_owner_alone(folder: Path) -> None:
    written = []
    for _ in range(2):
        assert make_env(folder).returncode == 0
        file = folder / ".env"
        assert file.stat().st_mode & 0o777 == 0o600
        lines = [line for line in file.read_text().splitlines() if line and not line.startswith("#")]
        written.append(dict(line.split("=", 1) for line in lines))
        file.unlink()
    first, second = written
    assert first.keys() == REQUIRED.keys()
    assert all(first[name] != second[name] for name in first)
    assert services(first)
    (key_id,) = parse_keys(first["REFRESHD_KEYS"])
    assert re.fullmatch(r"k-\d{8}-[0-9a-f]{8}", key_id)
    login = first["REFRESHD_FLOWER_BASIC_AUTH"]
    assert Settings(flower_basic_auth=SecretStr(login)).flower_basic_auth == SecretStr(login)


def test_make_env_never_replaces_a_key(folder: Path) -> None:
    (folder / ".env").write_text("REFRESHD_KEYS=k1:mine\n")
    assert make_env(folder).returncode == 1
    assert (folder / ".env").read_text() == "REFRESHD_KEYS=k1:mine\n"
