"""The bill of materials is valid CycloneDX, and holds exactly what is locked for running."""

from __future__ import annotations

import json
import re
import subprocess
import sys

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from tests.deploy.compose_file import ROOT


def made_at(moment: str) -> str:
    return subprocess.run(
        [sys.executable, "deploy/sbom.py", "requirements.lock"], cwd=ROOT, capture_output=True, text=True, check=True,
        env={"SOURCE_DATE_EPOCH": moment},
    ).stdout  # fmt: skip


def test_it_is_valid_and_complete() -> None:
    made = made_at("1790000000")

    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(made) is None
    bill = json.loads(made)
    locked = set(re.findall(r"^([\w.-]+)==", (ROOT / "requirements.lock").read_text(), re.MULTILINE))
    listed = {one["name"]: one for one in bill["components"]}
    assert listed.keys() == locked | {"refreshd-reader"}
    assert all(listed[name]["properties"] for name in locked), "a hash for each"
    assert bill["metadata"]["component"]["name"] == "refreshd"
    assert bill["metadata"]["timestamp"] == "2026-09-21T14:13:20Z"
    assert made == made_at("1790000000"), "whoever builds the same commit gets the same text"


def test_it_says_what_needs_what_and_nothing_stands_there_without_a_reason() -> None:
    bill = json.loads(made_at(""))
    assert "timestamp" not in bill["metadata"]
    needs = {name_of(one["ref"]): set(map(name_of, one.get("dependsOn", []))) for one in bill["dependencies"]}
    assert needs["refreshd"] >= {"celery", "flower", "sqlmodel", "refreshd-reader"}
    assert "kombu" in needs["celery"]
    assert "redis" in needs["refreshd-reader"]
    assert "yarl" not in needs["refreshd"]
    assert reachable(needs, "refreshd") == {one["name"] for one in bill["components"]}


def name_of(ref: str) -> str:
    return ref.removeprefix("pkg:pypi/").partition("@")[0]


def reachable(needs: dict[str, set[str]], start: str) -> set[str]:
    """Return everything that something needs, and what that needs."""
    found: set[str] = set()
    left = set(needs[start])
    while left:
        name = left.pop()
        found.add(name)
        left |= needs.get(name, set()) - found
    return found
