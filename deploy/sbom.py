"""The software bill of materials of a release: CycloneDX 1.6 of everything that is locked for running.

    python deploy/sbom.py requirements.lock >dist/refreshd-VERSION.cdx.json

From the lock file alone, without a network: the same lock gives the same text.
"""

from __future__ import annotations

import json
import re
import sys
import tomllib
import uuid
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
_PIN = re.compile(
    r"^([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?==([^\s;\\]+)\s*(?:;\s*([^\\]+))?", re.MULTILINE
)
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")


def components(lock: str) -> list[dict[str, Any]]:
    """Give a component for each pin, with the hashes of all its files; a marker says where it is installed."""
    pins = list(_PIN.finditer(lock))
    ends = [pin.start() for pin in pins[1:]] + [len(lock)]
    found = []
    for pin, end in zip(pins, ends, strict=True):
        name, version, marker = pin.groups()
        purl = f"pkg:pypi/{re.sub(r'[-_.]+', '-', name).lower()}@{version}"
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


def own(project: Path) -> dict[str, Any]:
    """Give the component that a pyproject.toml describes."""
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
    """Give the whole document."""
    application, reader = own(ROOT / "pyproject.toml"), own(ROOT / "reader/pyproject.toml")
    libraries = [reader, *components(lock)]
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, application['purl'] + lock)}",
        "version": 1,
        "metadata": {"component": application},
        "components": libraries,
        "dependencies": [{"ref": application["bom-ref"], "dependsOn": [one["bom-ref"] for one in libraries]}],
    }


if __name__ == "__main__":
    print(json.dumps(bill(Path(sys.argv[1]).read_text(encoding="utf-8")), indent=2))
