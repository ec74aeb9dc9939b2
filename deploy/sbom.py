"""The software bill of materials of a release: CycloneDX 1.6 of everything that is locked for running.

    SOURCE_DATE_EPOCH=1790000000 python deploy/sbom.py requirements.lock >dist/refreshd.cdx.json

From the lock file alone, without a network. The same lock gives the same text; the bill's time is that of the variable
(https://reproducible-builds.org/specs/source-date-epoch/), and it has none where that is unset.
"""

from __future__ import annotations

import json
import os
import re
import sys
import tomllib
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
_PIN = re.compile(
    r"^([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?==([^\s;\\]+)\s*(?:;\s*([^\\]+))?", re.MULTILINE
)
#: Who needs a pin: uv writes it below, on one line or on several.
_VIA = re.compile(r"^    #(?: via|  ) +([A-Za-z0-9][A-Za-z0-9._-]*)", re.MULTILINE)
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")


def components(lock: str) -> list[dict[str, Any]]:
    """Return a component for each pin, with the hashes of all its files; a marker says where it is installed."""
    pins = list(_PIN.finditer(lock))
    ends = [pin.start() for pin in pins[1:]] + [len(lock)]
    found = []
    for pin, end in zip(pins, ends, strict=True):
        name, version, marker = pin.groups()
        purl = f"pkg:pypi/{_normal(name)}@{version}"
        component: dict[str, Any] = {
            "type": "library",
            "bom-ref": purl,
            "name": name,
            "version": version,
            "purl": purl,
            "properties": [
                {"name": "refreshd:sha256", "value": digest} for digest in _HASH.findall(lock, pin.end(), end)
            ],
        }
        if marker:
            component["properties"].append({"name": "refreshd:marker", "value": marker.strip()})
        found.append(component)
    return found


def dependencies(lock: str, known: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Say of each component what it needs, as the lock file's comments have it."""
    refs = {_normal(one["name"]): one["bom-ref"] for one in known}
    needs: dict[str, set[str]] = {ref: set() for ref in refs.values()}
    pins = list(_PIN.finditer(lock))
    ends = [pin.start() for pin in pins[1:]] + [len(lock)]
    for pin, end in zip(pins, ends, strict=True):
        for needer in _VIA.findall(lock, pin.end(), end):
            needs[refs[_normal(needer)]].add(refs[_normal(pin[1])])
    # The lock leaves it out: it is built from the same tree.
    needs[refs["refreshd"]].add(refs["refreshd-reader"])
    return [{"ref": ref, "dependsOn": sorted(needed)} for ref, needed in needs.items()]


def metadata(application: dict[str, Any]) -> dict[str, Any]:
    """Return what the bill is of, who wrote it with what, and when."""
    made_at = os.environ.get("SOURCE_DATE_EPOCH")
    found = {
        "lifecycles": [{"phase": "build"}],
        "tools": {
            "components": [
                {"type": "application", "name": "deploy/sbom.py", "version": application["version"]}
            ]
        },
        "authors": [{"name": "refreshd"}],
        "component": application,
    }
    if made_at:
        found["timestamp"] = datetime.fromtimestamp(int(made_at), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return found


def _normal(name: str) -> str:
    """Return a name as indexes compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def own(project: Path) -> dict[str, Any]:
    """Return the component that a pyproject.toml describes."""
    described = tomllib.loads(project.read_text(encoding="utf-8"))["project"]
    purl = f"pkg:pypi/{described['name']}@{described['version']}"
    return {
        "type": "application" if described["name"] == "refreshd" else "library",
        "bom-ref": purl,
        "name": described["name"],
        "version": described["version"],
        "purl": purl,
        "licenses": [{"license": {"id": "Apache-2.0"}}],
    }


def bill(lock: str) -> dict[str, Any]:
    """Return the whole document."""
    application, reader = own(ROOT / "pyproject.toml"), own(ROOT / "reader/pyproject.toml")
    libraries = [reader, *components(lock)]
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, application['purl'] + lock)}",
        "version": 1,
        "metadata": metadata(application),
        "components": libraries,
        "dependencies": dependencies(lock, [application, *libraries]),
    }


if __name__ == "__main__":
    print(json.dumps(bill(Path(sys.argv[1]).read_text(encoding="utf-8")), indent=2))
