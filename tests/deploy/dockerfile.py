"""Reads the Dockerfile, and carries out its build stage in a folder instead of an image."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).parents[2]

#: Stands where the image has pip. What the lock names is in this environment already and is not fetched again;
#: everything else is done by the real pip.
_PIP: Final = """\
#!/bin/sh
case "$*" in *--require-hashes*) exit 0 ;; esac
exec {python} -m pip "$@"
"""


class Instruction(NamedTuple):
    """One instruction: `RUN`, `COPY` ..., and what follows it."""

    word: str
    rest: str


def stages() -> list[list[Instruction]]:
    """Return each stage's instructions, its FROM first."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    found: list[list[Instruction]] = []
    for line in re.sub(r"\\\n\s*", "", text).splitlines():
        word, _, rest = line.partition(" ")
        if word == "FROM":
            found.append([])
        if found and word:
            found[-1].append(Instruction(word, rest))
    return found


def build(folder: Path) -> Path:
    """Carry out the build stage below `folder` and give the environment that the image would hold.

    The image's folders (/src, /opt/refreshd, /wheels) are folders in `folder`.
    """
    tools = folder / "tools"
    tools.mkdir()
    (tools / "python").symlink_to(Path(sys.executable))
    pip = tools / "pip"
    pip.write_text(_PIP.format(python=shlex.quote(sys.executable)))
    pip.chmod(pip.stat().st_mode | stat.S_IXUSR)
    source = folder / "src"
    source.mkdir()
    environment = {"PATH": f"{tools}:{os.environ['PATH']}", "HOME": str(folder), "PIP_NO_INPUT": "1"}
    for word, rest in stages()[0]:
        if word == "COPY":
            for name in _copied(rest):
                _copy(name, source)
        elif word == "RUN":
            _run(rest, folder, environment)
    return folder / "opt/refreshd"


def copied_by_build() -> list[str]:
    """Return everything that the build stage takes from the checkout."""
    return [name for word, rest in stages()[0] if word == "COPY" for name in _copied(rest)]


def _copied(rest: str) -> Iterator[str]:
    *names, _ = rest.split()
    return (name.rstrip("/") for name in names)


def _copy(name: str, target: Path) -> None:
    if (ROOT / name).is_dir():
        left_out = shutil.ignore_patterns("__pycache__", "*.egg-info", "*.pyc")  # as in .dockerignore
        shutil.copytree(ROOT / name, target / name, ignore=left_out)
    else:
        shutil.copy(ROOT / name, target / name)


def _run(command: str, folder: Path, environment: Mapping[str, str]) -> None:
    here = re.sub(r"(?<![\w./])/(opt/refreshd|wheels)", rf"{folder}/\1", command)
    subprocess.run(["/bin/sh", "-euc", here], cwd=folder / "src", env=environment, check=True)
