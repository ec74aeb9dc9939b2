"""deploy/venv.sh on machines that lack something: it says what, and what to do."""

from __future__ import annotations

import os
import pty
import subprocess
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]

#: Answers the script's three questions: does it fit, which version is it, has it venv.
FAKE_PYTHON: Final = """\
#!/bin/sh
case "$2" in
    *ensurepip*) exit {no_venv} ;;
    *version_info*SystemExit* | *SystemExit*version_info*) exit {unfit} ;;
    *) echo {version} ;;
esac
"""

#: Fits, makes a venv with itself in it, and writes down every call.
RECORDING_PYTHON: Final = """\
#!/bin/sh
echo "$*" >>"$LOG"
case "$*" in
    "-m venv .venv") mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
    *" install "*) exit 0 ;;
    *) echo "Python 3.12.0" ;;
esac
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return an empty folder with the script, and a PATH of its own in `bin`."""
    (tmp_path / "deploy").mkdir()
    (tmp_path / "deploy/venv.sh").write_text((ROOT / "deploy/venv.sh").read_text())
    (tmp_path / "bin").mkdir()
    return tmp_path


def fake_python(checkout: Path, name: str, *, version: str, fits: bool, has_venv: bool = True) -> None:
    file = checkout / "bin" / name
    file.write_text(FAKE_PYTHON.format(version=version, unfit=int(not fits), no_venv=int(not has_venv)))
    file.chmod(0o755)


def run(
    checkout: Path, *, restore_signals: bool = True, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/bin/sh", "deploy/venv.sh", "requirements.lock"],
        cwd=checkout,
        env={"PATH": f"{checkout / 'bin'}", "GOAL": "test", **environment},
        capture_output=True,
        text=True,
        check=False,
        restore_signals=restore_signals,
    )


def test_no_python_at_all_is_said_with_what_was_looked_at(checkout: Path) -> None:
    result = run(checkout)
    assert result.returncode == 1
    assert "needs Python 3.11 or later" in result.stderr
    assert "python3.13: not found" in result.stderr
    assert "make test PYTHON=" in result.stderr


def test_a_python_of_another_version_is_named_with_it(checkout: Path) -> None:
    fake_python(checkout, "python3", version="3.9", fits=False)
    result = run(checkout)
    assert result.returncode == 1
    assert "python3: 3.9" in result.stderr


def test_a_python_without_venv_is_named_with_the_package_to_install(checkout: Path) -> None:
    fake_python(checkout, "python3.12", version="3.12", fits=True, has_venv=False)
    result = run(checkout)
    assert result.returncode == 1
    assert "python3.12: has no venv" in result.stderr
    assert "python3.12-venv" in result.stderr


def test_a_named_python_is_the_only_one_looked_at(checkout: Path) -> None:
    fake_python(checkout, "python3.9", version="3.9", fits=False)
    result = run(checkout, PYTHON="python3.9")
    assert "python3.9: 3.9" in result.stderr
    assert "python3.13" not in result.stderr


@pytest.fixture
def installable(checkout: Path) -> Path:
    """Return a checkout with a lock, and a python that writes down what it is asked to install."""
    (checkout / "reader").mkdir()
    for name in ("requirements-build.lock", "requirements.lock", "pyproject.toml", "reader/pyproject.toml"):
        (checkout / name).write_text("celery==5.7.0\n")
    file = checkout / "bin/python3.12"
    file.write_text(RECORDING_PYTHON)
    file.chmod(0o755)
    return checkout


#: Of pip, what a terminal is shown a count of.
COLLECTING_PYTHON: Final = """\
#!/bin/sh
case "$*" in
    "-m venv .venv") mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
    *--no-index*) exit 0 ;;
    *" install "*) echo "Collecting celery"; echo "  Using cached"; echo "Collecting redis"; exit {code} ;;
    *) echo "Python 3.12.0" ;;
esac
"""


@pytest.mark.parametrize("code", [0, 3])
def test_a_terminal_sees_a_count_and_pip_s_exit_code_is_kept(installable: Path, code: int) -> None:
    (installable / "bin/python3.12").write_text(COLLECTING_PYTHON.format(code=code))
    source, sink = pty.openpty()
    result = subprocess.run(
        ["/bin/sh", "deploy/venv.sh", "requirements.lock"],
        cwd=installable,
        env={"PATH": f"{installable / 'bin'}:/usr/bin:/bin", "PYTHON": str(installable / "bin/python3.12")},
        stdout=sink,
        stderr=subprocess.PIPE,
        check=False,
    )
    shown = os.read(source, 65536).decode()
    os.close(source)
    os.close(sink)
    assert "2 of about 1" in shown
    assert "Using cached" not in shown
    assert (result.returncode, (installable / ".venv/.holds-requirements.lock").exists()) == (code, code == 0)


def installs(checkout: Path) -> list[str]:
    """Run the script and give the `pip install` lines of this run."""
    log = checkout / "log"
    log.write_text("")
    python = str(checkout / "bin/python3.12")
    run(checkout, PYTHON=python, PATH="/usr/bin:/bin", LOG=str(log)).check_returncode()
    return [line for line in log.read_text().splitlines() if " install " in line]


def test_a_lock_is_installed_by_hash_from_wheels_alone_and_our_projects_without_network(
    installable: Path,
) -> None:
    locked, ours = installs(installable)
    assert {"--require-hashes", "--only-binary", ":all:", "requirements.lock"} <= set(locked.split())
    assert {"--no-index", "--no-deps", "--no-build-isolation"} <= set(ours.split())


def test_installing_complains_of_nothing(installable: Path) -> None:
    """Python ignores SIGPIPE, and a child inherits that unless told otherwise: as under some CI runners."""
    environment = {"PYTHON": str(installable / "bin/python3.12"), "PATH": "/usr/bin:/bin", "LOG": "/dev/null"}
    for lock in ("celery==5.7.0\n", "celery==5.7.1\n" * 100_000):
        (installable / "requirements.lock").write_text(lock)
        result = run(installable, restore_signals=False, **environment)
        assert (result.returncode, result.stderr) == (0, "")


def test_what_is_installed_is_not_installed_again(installable: Path) -> None:
    assert installs(installable)
    assert installs(installable) == []


@pytest.mark.parametrize("name", ["requirements.lock", "pyproject.toml", "reader/pyproject.toml"])
def test_another_lock_or_other_metadata_is_installed(installable: Path, name: str) -> None:
    assert installs(installable)
    (installable / name).write_text("celery==5.7.1\n")
    assert installs(installable)


def test_a_moved_checkout_gets_a_new_venv(
    installable: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    assert installs(installable)
    moved = installable.rename(tmp_path_factory.mktemp("moved") / "checkout")
    assert installs(moved)
    assert (moved / ".venv/.made-in").read_text().strip() == str(moved)


def test_a_failed_install_is_tried_again(installable: Path) -> None:
    broken = installable / "bin/python3.12"
    working = broken.read_text()
    broken.write_text(working.replace("exit 0", "exit 1"))
    python = str(broken)
    assert run(installable, PYTHON=python, PATH="/usr/bin:/bin", LOG="/dev/null").returncode == 1
    broken.write_text(working)
    (installable / ".venv/bin/python").write_text(working)
    assert installs(installable)
