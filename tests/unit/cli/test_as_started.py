"""What a demo's last line has a person type: a command that their shell finds."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from worker.cli.run.demo_screen import as_started


def test_refreshd_is_named_as_the_shell_finds_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / ".venv/bin/refreshd"
    program.parent.mkdir(parents=True)
    program.touch(mode=0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [".venv/bin/refreshd", "demo"])
    monkeypatch.setenv("PATH", "/bin")
    assert as_started() == ".venv/bin/refreshd"
    monkeypatch.setenv("PATH", f"{program.parent}:/bin")
    monkeypatch.setattr(sys, "argv", [str(program), "demo"])
    assert as_started() == "refreshd"
    monkeypatch.setattr(sys, "argv", ["/lib/worker/cli/__main__.py", "demo"])
    assert as_started().endswith(" -m worker.cli")
