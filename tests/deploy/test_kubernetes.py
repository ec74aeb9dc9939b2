"""deploy/kubernetes keeps compose.yaml's promises: the API's schemas, the same commands, least privilege, no secret."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from kubernetes_validate.utils import validate

from tests.deploy.compose_file import ROOT, raw
from tests.deploy.test_compose import seconds

FOLDER: Final = ROOT / "deploy/kubernetes"
#: The oldest version whose makers still mend it, and the newest whose schemas are at hand.
VERSIONS: Final = ("1.34", "1.37")
OURS: Final = ("migrate", "worker", "callback", "beat", "flower", "exporter", "api")
#: Processes that open what is stored, and what the others may not be given.
MAY_OPEN: Final = frozenset({"worker", "callback"})
SECRETS_OF: Final = {
    "migrate": {"refreshd-migrate"},
    "worker": {"refreshd-work"},
    "callback": {"refreshd-work"},
    "beat": {"refreshd-watch"},
    "flower": {"refreshd-watch", "refreshd-flower"},
    "exporter": {"refreshd-watch", "refreshd-database"},
    "api": {"refreshd-api"},
}


def resources(kustomization: Path) -> list[Path]:
    """Return the files that a kustomization names, those of the folders that it names included."""
    found: list[Path] = []
    for name in yaml.safe_load(kustomization.read_text()).get("resources", []):
        path = (kustomization.parent / name).resolve()
        found += resources(path / "kustomization.yaml") if path.is_dir() else [path]
    return found


def objects(kustomization: Path) -> list[dict[str, Any]]:
    files = resources(kustomization)
    return [one for path in files for one in yaml.load_all(path.read_text(), yaml.CSafeLoader)]


TRIAL: Final = objects(FOLDER / "trial/kustomization.yaml")
PODS: Final = {
    one["metadata"]["name"].removeprefix("refreshd-"): one["spec"]["template"]["spec"]
    for one in TRIAL
    if one["kind"] in {"Deployment", "StatefulSet", "Job"}
}


def container(name: str) -> dict[str, Any]:
    (only,) = PODS[name]["containers"]
    assert isinstance(only, dict)
    return only


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("definition", TRIAL, ids=lambda one: f"{one['kind']}-{one['metadata']['name']}")
def test_each_object_is_valid_by_the_schema_of_the_api(definition: dict[str, Any], version: str) -> None:
    validate(definition, version, strict=True)


def test_each_file_belongs_to_a_kustomization() -> None:
    named = set(resources(FOLDER / "trial/kustomization.yaml"))
    loose = {path for path in FOLDER.rglob("*.yaml") if path.name != "kustomization.yaml"} - named
    assert loose == {FOLDER / "keda.yaml"}  # an example that needs KEDA's own types


def test_every_process_of_ours_is_there() -> None:
    assert {*OURS, "redis", "postgres", "api-role"} == set(PODS)


@pytest.mark.parametrize("name", OURS)
def test_a_container_runs_the_command_that_compose_runs(name: str) -> None:
    # tests/deploy/test_service_commands.py runs these as processes.
    assert container(name)["args"] == raw()["services"][name]["command"]


def test_the_servers_of_the_trial_run_the_images_and_commands_of_compose() -> None:
    services = raw()["services"]
    assert container("redis")["image"] == services["redis"]["image"]
    assert container("redis")["command"] == services["redis"]["command"]
    assert container("postgres")["image"] == services["postgres"]["image"]
    role, shown = container("api-role"), services["api-role"]
    assert (role["image"], [word.replace("$", "$$") for word in role["command"]]) == (
        shown["image"],
        shown["command"],
    )


@pytest.mark.parametrize("name", ["worker", "callback", "beat"])
def test_a_probe_asks_what_the_health_check_of_compose_asks(name: str) -> None:
    kind, words = raw()["services"][name]["healthcheck"]["test"]
    assert kind == "CMD-SHELL"
    asked = container(name)["livenessProbe"]["exec"]["command"]
    assert asked == ["sh", "-c", words.replace("$$", "$")]


@pytest.mark.parametrize("name", [name for name in OURS if name != "migrate"])
def test_a_pod_has_time_for_the_calls_under_way(name: str) -> None:
    assert PODS[name]["terminationGracePeriodSeconds"] >= _grace_of_compose(name)


def _grace_of_compose(name: str) -> float:
    grace = raw()["services"][name]["stop_grace_period"]
    return seconds(grace.removeprefix("${REFRESHD_STOP_GRACE:-").removesuffix("}"))


@pytest.mark.parametrize("name", PODS)
def test_a_pod_may_do_nothing_that_it_need_not(name: str) -> None:
    pod, only = PODS[name], container(name)
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert only["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert set(only["resources"]["requests"]) == {"cpu", "memory"}
    assert "memory" in only["resources"]["limits"]


@pytest.mark.parametrize("name", OURS)
def test_a_container_gets_the_secrets_of_its_process_alone(name: str) -> None:
    given = {one["secretRef"]["name"] for one in container(name)["envFrom"] if "secretRef" in one}
    assert given == SECRETS_OF[name]


def test_the_script_of_the_trial_gives_keys_to_workers_alone_and_keeps_what_is_there(tmp_path: Path) -> None:
    script = tmp_path / "secrets.sh"
    script.write_text((FOLDER / "trial/secrets.sh").read_text())
    subprocess.run(["sh", script], check=True, capture_output=True)
    made = {path.name: path.read_text() for path in tmp_path.glob("*.env")}
    named = {line["envs"][0] for line in _generators()}
    assert named == set(made)
    assert [name for name, text in made.items() if "REFRESHD_KEYS=" in text] == ["work.env"]
    asked = set(re.findall(r"\$\{?(REDIS_\w+)", (ROOT / "deploy/redis/start.sh").read_text()))
    assert asked <= set(re.findall(r"^(\w+)=", made["redis.env"], re.MULTILINE))
    assert all(path.stat().st_mode & 0o077 == 0 for path in tmp_path.glob("*.env"))
    again = subprocess.run(["sh", script], check=False, capture_output=True, text=True)
    assert again.returncode == 1
    assert "stays as it is" in again.stderr
    assert made == {path.name: path.read_text() for path in tmp_path.glob("*.env")}


def _generators() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = yaml.safe_load((FOLDER / "trial/kustomization.yaml").read_text())[
        "secretGenerator"
    ]
    return found


def test_only_what_needs_the_database_or_providers_reaches_them() -> None:
    reach = {
        one["metadata"]["name"]: one["spec"]["podSelector"] for one in TRIAL if one["kind"] == "NetworkPolicy"
    }
    assert reach["refreshd-database"]["matchExpressions"] == [
        {"key": "app.kubernetes.io/component", "operator": "NotIn", "values": ["beat", "flower"]}
    ]
    (providers,) = reach["refreshd-providers"]["matchExpressions"]
    assert set(providers["values"]) == MAY_OPEN


def test_the_api_takes_requests_until_nodes_know_that_its_pod_ends() -> None:
    only = container("api")
    pause_s = only["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert PODS["api"]["terminationGracePeriodSeconds"] >= pause_s + _grace_of_compose("api")
    assert only["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert only["livenessProbe"]["httpGet"]["path"] == "/healthz", "a store that is away restarts no process"
    budget, policy = (
        one["spec"]
        for kind in ("PodDisruptionBudget", "NetworkPolicy")
        for one in TRIAL
        if (one["kind"], one["metadata"]["name"]) == (kind, "refreshd-api")
    )
    assert budget["selector"] == policy["podSelector"]
    assert [one["port"] for one in policy["ingress"][0]["ports"]] == [only["ports"][0]["containerPort"]]
