"""The image: sound by hadolint, unprivileged, and what it holds works without the checkout."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Final

import pytest

from tests.deploy import dockerfile
from tests.deploy.dockerfile import ROOT

#: Where our packages are looked for first; then, for what the lock names, in the tests' own environment.
SITE: Final = f"lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the environment that the Dockerfile's build stage makes."""
    return dockerfile.build(tmp_path_factory.mktemp("image"))


def run(image: Path, *command: str, cwd: Path) -> str:
    """Run a command of the image in `cwd`, with nothing of the checkout in reach."""
    environment = {
        "PATH": f"{image / 'bin'}:/usr/bin:/bin",
        # Not a site directory: its .pth files, which point to the checkout, have no effect.
        "PYTHONPATH": f"{image / SITE}:{sysconfig.get_path('purelib')}",
        "REFRESHD_DATA_DIR": str(cwd / "data"),
    }
    result = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_hadolint_finds_nothing() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    result = subprocess.run([hadolint, "Dockerfile"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (0, "")


def test_the_context_holds_what_is_copied_and_nothing_else() -> None:
    ignored, *lines = [
        line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")
    ]
    assert ignored == "*"
    allowed = {line[1:].rstrip("/") for line in lines if line.startswith("!")}
    assert allowed == set(dockerfile.copied_by_build())


def test_it_runs_as_nobody_in_particular() -> None:
    last_user = [rest for word, rest in dockerfile.stages()[-1] if word == "USER"][-1]
    user, _, group = last_user.partition(":")
    assert int(user) > 0, "a number, so that an orchestrator can see that it is not root"
    assert int(group) > 0


def test_what_runs_can_not_install(image: Path) -> None:
    assert not list((image / "bin").glob("pip*"))
    assert not list((image / SITE).glob("hatchling*"))


def test_its_packages_are_its_own(image: Path, tmp_path: Path) -> None:
    look = "import importlib.util as u; print(*(u.find_spec(n).origin for n in ('models', 'tasks', 'worker', 'refreshd_reader')))"
    printed = run(image, "python", "-c", look, cwd=tmp_path)
    assert all(Path(path).is_relative_to(image) for path in printed.split())


def test_its_commands_explain_themselves(image: Path, tmp_path: Path) -> None:
    assert "accounts" in run(image, "refreshd", "--help", cwd=tmp_path)


def test_it_holds_the_migrations(image: Path, tmp_path: Path) -> None:
    assert "revision" in run(image, "refreshd", "db", "upgrade", cwd=tmp_path)
    assert (tmp_path / "data/refreshd.db").exists()


def test_it_holds_every_file_that_the_code_reads(image: Path) -> None:
    folders = {ROOT / "models": "models", ROOT / "worker": "worker", ROOT / "reader/src": "."}
    missing = [
        file
        for folder, name in folders.items()
        for file in folder.rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
        if not (image / SITE / name / file.relative_to(folder)).exists()
    ]
    assert missing == []
