"""The release before this one, from the repository's history, to run beside this one."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Final

from tests.support.fleet import ROOT

#: The state that stands for it until a release is published: its schema ends at 0011, its messages know no client and no label.
COMMIT: Final = "4ecc51299e59ac04d0484bbbf71f749eea64d5eb"


def missing() -> str | None:
    """Return why there is none here: a shallow clone has no history. None where it is there."""
    found = _git("rev-parse", "--quiet", "--verify", f"{COMMIT}^{{commit}}")
    return (
        None
        if found.returncode == 0
        else f"this clone lacks {COMMIT[:7]}, the release before: git fetch --unshallow"
    )


def unpack(folder: Path) -> Path:
    """Write its files into a folder, with the reader's generated half."""
    archive = folder / "before.tar"
    _git("archive", f"--output={archive}", COMMIT).check_returncode()
    root = folder / "before"
    with tarfile.open(archive) as files:
        files.extractall(root, filter="data")
    subprocess.run([sys.executable, root / "reader/hatch_build.py"], cwd=root / "reader", check=True)
    return root


def its_python_path(root: Path) -> str:
    """Return the PYTHONPATH with which a process runs it instead of this one."""
    return os.pathsep.join([str(root), str(root / "reader/src")])


def _git(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, check=False)
