"""Both wheels: the same source gives the same bytes, whoever builds it, where and when; docs install what is there."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Final

import pytest

from tests.deploy import dockerfile
from tests.deploy.compose_file import ROOT

#: What a wheel is built from.
SOURCES: Final = ("pyproject.toml", "README.md", "LICENSE", "models", "worker", "tasks", "reader")
#: What tells people how to install.
PAGES: Final = [
    *ROOT.glob("*.md"),
    *ROOT.glob("docs/**/*.md"),
    *ROOT.glob("reader/*.md"),
    *ROOT.glob("examples/**/*.py"),
]
LEFT_OUT: Final = shutil.ignore_patterns("__pycache__", "*.egg-info", "_sync", "dist")


def built(folder: Path, *, umask: int, mtime: int) -> dict[str, str]:
    """Build both wheels from a copy of the sources; return the digest of each file."""
    source = folder / "source"
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=LEFT_OUT)
        else:
            source.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, source / name)
    for path in source.rglob("*"):
        os.utime(path, (mtime, mtime))
        path.chmod((0o777 if path.is_dir() else 0o666) & ~umask)
    wheel = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-index",
        "--no-deps",
        "--no-build-isolation",
    ]
    subprocess.run(
        [*wheel, "--wheel-dir", str(folder / "dist"), "./reader", "."],
        cwd=source, check=True, umask=umask,
        env={"PATH": os.environ["PATH"], "SOURCE_DATE_EPOCH": "1790000000", "TMPDIR": str(folder)},
    )  # fmt: skip
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (folder / "dist").iterdir()}


def test_building_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    first = built(tmp_path / "one", umask=0o022, mtime=1_700_000_000)
    second = built(tmp_path / "another", umask=0o077, mtime=1_780_000_000)
    assert len(first) == 2
    assert first == second


def test_the_image_says_what_it_is() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    last = dockerfile.stages()[-1]
    assert f"VERSION={version}" in [rest for word, rest in last if word == "ARG"]
    (labels,) = [rest for word, rest in last if word == "LABEL"]
    named = set(re.findall(r"org\.opencontainers\.image\.(\w+)=", labels))
    assert named >= {"title", "description", "licenses", "version", "revision", "created"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_no_page_installs_refreshd_from_a_package_index(page: Path) -> None:
    """Neither name is in one yet; another's package could be there tomorrow."""
    found = re.findall(
        r"""pip install[^`\n]*?\s["']?refreshd[\w-]*(?:\[[\w,]+\])?["']?(?=[\s`]|$)""", page.read_text()
    )
    assert not found
