"""Installs a server's pinned packages into a folder of its own, from their lock."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.servers.catalogue import RealServer, Runtime

#: A hundred packages on a slow network and a busy machine; who takes longer hangs.
_INSTALL_S: Final = 900.0
#: Written last: the lock that a folder was installed from.
_DONE: Final = "installed"
_NEEDS: Final = {
    Runtime.NODE: ("node", "npm"),
    Runtime.PYTHON: (),
    Runtime.DEBIAN: ("apt-get", "dpkg"),
}


class RuntimeAbsent(RuntimeError):
    """This machine has not what runs a server, or its archive not the pinned packages; says what is missing."""


class InstallFailed(RuntimeError):
    """The packages were not installed; holds the end of what the installer wrote."""


def install(server: RealServer, folder: Path) -> list[str]:
    """Install a server, unless the same lock was installed there before.

    Returns:
        The command that runs its program, to be run in `folder`.

    Raises:
        RuntimeAbsent: there is no node, npm, apt-get or dpkg.
        InstallFailed: the installer failed.
    """
    missing = [name for name in _NEEDS[server.runtime] if shutil.which(name) is None]
    if missing:
        raise RuntimeAbsent(f"no {' and no '.join(missing)} on PATH")
    shutil.copytree(server.folder, folder, dirs_exist_ok=True)
    done, fingerprint = folder / _DONE, _fingerprint(server)
    if not done.exists() or done.read_text() != fingerprint:
        if server.runtime is Runtime.DEBIAN:
            _download(folder)
        for command in _commands(server, folder):
            _run(command, folder)
        done.write_text(fingerprint)
    return _program(server, folder)


def _commands(server: RealServer, folder: Path) -> Iterator[list[str]]:
    if server.runtime is Runtime.NODE:
        yield ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    elif server.runtime is Runtime.PYTHON:
        python = str(folder / "venv/bin/python")
        yield [sys.executable, "-m", "venv", "venv"]
        yield [python, "-m", "pip", "install", "--quiet", "--no-deps", "--requirement", "requirements.lock"]
    else:
        yield ["sh", "-c", "for one in packages/*.deb; do dpkg --extract $one root || exit 1; done"]


def _download(folder: Path) -> None:
    """Fetch Debian's packages. An archive keeps one version of each: another release of Debian has others."""
    (folder / "packages").mkdir(exist_ok=True)
    try:
        _run(["sh", "-c", "cd packages && apt-get download $(cat ../packages.lock)"], folder)
    except InstallFailed as error:
        raise RuntimeAbsent(f"not to be had from this machine's archive of Debian: {error}") from error


def _program(server: RealServer, folder: Path) -> list[str]:
    if server.runtime is Runtime.NODE:
        return [shutil.which("node") or "node", "server.mjs"]
    if (folder / "run.sh").exists():
        return ["sh", "run.sh"]
    python = sys.executable if server.runtime is Runtime.DEBIAN else str(folder / "venv/bin/python")
    return [python, "server.py"]


def _run(command: list[str], folder: Path) -> None:
    try:
        done = subprocess.run(
            ["nice", *command], cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, timeout=_INSTALL_S, check=False,
            env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise InstallFailed(f"{command[0]} did not end within {_INSTALL_S:g} s") from None
    if done.returncode:
        raise InstallFailed(f"{' '.join(command[:3])} failed: {done.stdout[-1500:]}")


def _fingerprint(server: RealServer) -> str:
    """Return a hash of the files that say what is installed."""
    locks = sorted([*server.folder.glob("*.lock"), *server.folder.glob("package*.json")])
    return hashlib.sha256(b"".join(path.read_bytes() for path in locks)).hexdigest()
