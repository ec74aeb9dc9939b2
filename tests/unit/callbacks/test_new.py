"""`refreshd callbacks new`: what it writes runs, passes its own test, and keeps to this repository's style."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.deploy.compose_file import ROOT
from worker.cli.callbacks.new import write_skeleton
from worker.errors import UsageError


@pytest.mark.e2e
def test_skeletons_pass_their_own_tests(tmp_path: Path) -> None:
    names = ("acme", "Acme-2.0", "7th.day")
    tests = [write_skeleton(name, tmp_path).test for name in names]

    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", "--rootdir", tmp_path, *tests],
        cwd=tmp_path, env={"PYTHONPATH": str(ROOT), "PATH": ""}, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout + done.stderr
    assert [done.stdout.count(f"{test.name}::") for test in tests] == [3, 3, 3]
    assert "9 passed" in done.stdout


@pytest.mark.parametrize("name", ["acme", "Acme-2.0", "7th.day"])
def test_the_skeleton_names_its_callback_and_what_comes_next(name: str, tmp_path: Path) -> None:
    written = write_skeleton(name, tmp_path)
    assert f'@refresh_callback("{name}"' in written.callback.read_text()
    assert f"callbacks test {name} --account ACCOUNT" in written.next_steps
    steps = written.next_steps
    assert 0 < steps.find("pip install pytest") < steps.find("python -m pytest"), "the run-time has no pytest"


def test_the_skeleton_keeps_to_the_style(tmp_path: Path) -> None:
    written = write_skeleton("acme", tmp_path)
    options = ["--config", str(ROOT / "pyproject.toml"), "--no-cache"]
    for command in (["format", "--check"], ["check", "--ignore", "S,INP,PLR,SLF,D,I"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command, *options, written.callback, written.test],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    written = write_skeleton("acme", tmp_path)
    written.callback.write_text("mine")
    with pytest.raises(UsageError, match="is there already, and stays as it is"):
        write_skeleton("acme", tmp_path)
    assert written.callback.read_text() == "mine"


@pytest.mark.parametrize("name", ["", "../up", "a b", "x" * 65])
def test_an_unfit_name_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is no name for a callback"):
        write_skeleton(name, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_can_not_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nowhere can't be written"):
        write_skeleton("acme", tmp_path / "nowhere")
