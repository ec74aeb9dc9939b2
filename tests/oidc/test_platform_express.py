"""The Express platform, from a click to a token that is refreshed, and connected again; needs what `npm ci` installs."""

from __future__ import annotations

import os
import re
import subprocess
import sys

from tests.support.fleet import ROOT
from tests.support.waiting import PATIENCE_S


def test_the_express_platform_goes_from_a_click_to_a_token_that_is_refreshed_and_connected_again() -> None:
    example = ROOT / "examples/platform_express"
    assert (example / "node_modules").is_dir(), (
        "`make test` installs it, or `npm ci` in examples/platform_express"
    )
    ran = subprocess.run(
        [sys.executable, "examples/platform/run.py", str(example), "--once"],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if not name.startswith("REFRESHD_")},
        capture_output=True,
        text=True,
        timeout=4 * PATIENCE_S,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    first, refreshed, again = re.findall(r"What the CRM says: 200 with token (\d+)", ran.stdout)
    assert int(first) < int(refreshed) < int(again)
