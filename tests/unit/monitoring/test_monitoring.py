"""Alert rules, dashboard and page speak of what is really exported, and every alert is tested and explained."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from prometheus_client import CollectorRegistry, generate_latest

from tests.support.exported import of_exporter, of_worker, series
from worker.monitoring.metrics import WorkerMetrics

ROOT: Final = Path(__file__).parents[3]
PROMETHEUS: Final = ROOT / "deploy/prometheus"
DASHBOARD: Final = ROOT / "deploy/grafana/dashboards/refreshd.json"
PAGE: Final = (ROOT / "docs/monitoring.md").read_text()
RUNBOOK: Final = (ROOT / "docs/runbook.md").read_text()
NAME: Final = re.compile(r"\brefreshd_[a-z_]+\b")
#: `| `name` | kind | labels | what |` of the page.
ROW: Final = re.compile(r"^\| `(refreshd_\w+)` \| (\w+) \|([^|]*)\|", re.MULTILINE)


def alerts() -> dict[str, dict[str, Any]]:
    groups = yaml.safe_load((PROMETHEUS / "rules.yml").read_text())["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


@pytest.fixture(scope="module")
def promtool() -> str:
    """Return Debian's `promtool`, from the package `prometheus`. CI has it; elsewhere its tests may be left out, aloud."""
    found = shutil.which("promtool")
    if found is None and not os.environ.get("CI"):
        pytest.skip(
            "LEFT OUT: promtool is missing (Debian: apt-get install prometheus): rules are not tested"
        )
    assert found, "CI installs promtool: .ci/run"
    return found


def run(promtool: str, *arguments: str, given: bytes = b"") -> None:
    done = subprocess.run(
        [promtool, *arguments], cwd=PROMETHEUS, input=given, capture_output=True, check=False
    )
    assert done.returncode == 0, (done.stdout + done.stderr).decode()


def test_every_alert_fires_on_what_it_is_for(promtool: str) -> None:
    run(promtool, "test", "rules", "rules_test.yml")


def test_the_configuration_of_prometheus_is_sound(promtool: str) -> None:
    run(promtool, "check", "config", "prometheus.yml")


def test_names_and_units_are_prometheus_own(promtool: str) -> None:
    run(promtool, "check", "metrics", given=generate_latest(WorkerMetrics(CollectorRegistry()).registry))


def test_each_alert_is_tested_firing() -> None:
    tests = yaml.safe_load((PROMETHEUS / "rules_test.yml").read_text())["tests"]
    firing = {one["alertname"] for test in tests for one in test["alert_rule_test"] if one["exp_alerts"]}
    assert firing == alerts().keys()


@pytest.mark.parametrize("name", sorted(alerts()))
def test_an_alert_says_what_it_means_and_where_to_read_on(name: str) -> None:
    rule = alerts()[name]
    assert rule["labels"]["severity"] in {"critical", "warning", "info"}
    assert rule["annotations"].keys() == {"summary", "description", "runbook_url"}
    assert rule["annotations"]["runbook_url"] == f"docs/runbook.md#{name.lower()}"
    assert re.search(rf"^### {name}$", RUNBOOK, re.MULTILINE), "docs/runbook.md has no entry for it"


def test_rules_and_dashboard_ask_for_nothing_that_is_not_exported() -> None:
    texts = {path.name: path.read_text() for path in (PROMETHEUS / "rules.yml", DASHBOARD)}
    unknown = {(name, word) for name, text in texts.items() for word in NAME.findall(text)} - {
        (name, word) for name in texts for word in series()
    }
    assert unknown == set()


def test_every_metric_is_on_the_dashboard() -> None:
    text = DASHBOARD.read_text()
    assert {name for name in of_worker() | of_exporter() if name not in text} == set()


def test_the_page_has_every_metric_with_its_kind_and_labels() -> None:
    told = {
        name: (kind, frozenset(re.findall(r"`(\w+)`", labels))) for name, kind, labels in ROW.findall(PAGE)
    }
    real = {one.name: (one.kind, one.labels) for one in (of_worker() | of_exporter()).values()}
    assert told == real


def test_no_label_can_grow_with_the_accounts() -> None:
    bounded = {"provider", "outcome", "reason", "result", "store", "status", "within_seconds", "task"}
    bounded |= {"callback", "scope", "queue", "version", "cause", "why", "process"}
    used = {label for one in (of_worker() | of_exporter()).values() for label in one.labels}
    assert used <= bounded


def test_the_dashboard_is_whole() -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    spots = [
        (p["gridPos"]["y"] + dy, p["gridPos"]["x"] + dx)
        for p in panels
        for dy in range(p["gridPos"]["h"])
        for dx in range(p["gridPos"]["w"])
    ]
    assert len(spots) == len(set(spots)), "two panels lie on each other"
    assert all(target["expr"] for panel in panels if panel["type"] != "row" for target in panel["targets"])
    provisioned = yaml.safe_load(
        (DASHBOARD.parents[1] / "provisioning/datasources/prometheus.yaml").read_text()
    )
    assert [source["type"] for source in provisioned["datasources"]] == ["prometheus"]
