"""The bill of materials is valid CycloneDX, and holds exactly what is locked for running."""

from __future__ import annotations

import json
import re
import subprocess
import sys

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from tests.deploy.compose_file import ROOT


def test_it_is_valid_and_complete() -> None:
    made = subprocess.run(
        [sys.executable, "deploy/sbom.py", "requirements.lock"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout  # fmt: skip

    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(made) is None
    bill = json.loads(made)
    locked = set(re.findall(r"^([\w.-]+)==", (ROOT / "requirements.lock").read_text(), re.MULTILINE))
    listed = {one["name"]: one for one in bill["components"]}
    assert listed.keys() == locked | {"refreshd-reader"}
    assert all(listed[name]["properties"] for name in locked), "a hash for each"
    assert bill["metadata"]["component"]["name"] == "refreshd"
