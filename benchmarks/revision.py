"""An earlier commit of this repository, to be measured beside the present one in the same run.

Its code is a git worktree in a temporary folder, and the packages are those of the environment that runs the benchmark:
what is compared is the code, not its dependencies.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.processes import BenchmarkBroken
from worker.policy.backlog import accounts_a_message

#: REFRESHD_GROUP_SIZE's default. A plan puts more in a message where many accounts are due at once.
GROUP_SIZE: Final = 50
_REPOSITORY: Final = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True)
class Revision:
    """The code that a worker runs. `folder` None: the present one."""

    name: str = "refreshd"
    folder: Path | None = None

    @property
    def env(self) -> Mapping[str, str]:
        """Return the environment in which Python finds this code before any other."""
        if self.folder is None:
            return {}
        return {"PYTHONPATH": os.pathsep.join((str(self.folder), str(self.folder / "reader" / "src")))}

    def accounts_a_message(self, due: int) -> int:
        """Return how many accounts a plan of this revision puts in a message, where so many are due."""
        if self.folder is None:
            return accounts_a_message(due, GROUP_SIZE)
        backlog = self.folder / "worker" / "policy" / "backlog.py"
        grows = backlog.is_file() and "def accounts_a_message" in backlog.read_text()
        return accounts_a_message(due, GROUP_SIZE) if grows else GROUP_SIZE


PRESENT: Final = Revision()


@contextmanager
def checked_out(name: str) -> Iterator[Revision]:
    """Check a commit out, and remove it in the end.

    Raises:
        BenchmarkBroken: git has no such commit.
    """
    with tempfile.TemporaryDirectory(prefix="refreshd-bench-") as temporary:
        folder = Path(temporary) / "code"
        _git("worktree", "add", "--detach", str(folder), name)
        try:
            yield Revision(f"refreshd {name}", folder)
        finally:
            _git("worktree", "remove", "--force", str(folder))


def _git(*arguments: str) -> None:
    command = ("git", "-C", str(_REPOSITORY), *arguments)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchmarkBroken(f"git {arguments[0]} {arguments[1]}: {done.stderr.strip()}")
