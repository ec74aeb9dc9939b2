"""Runs commands of refreshd's one after the other in this process, and gives what each said: cheaper than a process each.

python -m tests.contract.leaks.commands < [["status"], ["doctor", "--json"]]
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Iterable, Mapping
from contextlib import redirect_stderr, redirect_stdout

from tests.support.fleet import ROOT
from worker.cli import main


def run(environment: Mapping[str, str], commands: Iterable[tuple[str, ...]]) -> dict[str, str]:
    """Run commands in an environment; returns words -> exit code and all that was said."""
    wanted = json.dumps([list(words) for words in commands])
    done = subprocess.run(
        [sys.executable, "-m", "tests.contract.leaks.commands"],
        env=dict(environment), cwd=ROOT, input=wanted, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said: dict[str, str] = json.loads(done.stdout)
    return said | {"said beside all of them": done.stderr}


def _run_here(words: list[str]) -> str:
    said = io.StringIO()
    code: object = 0
    sys.argv = ["refreshd", *words]
    try:
        with redirect_stdout(said), redirect_stderr(said):
            main()
    except SystemExit as ended:
        code = ended.code
    return f"exit code {code}\n{said.getvalue()}"


if __name__ == "__main__":
    answers = {" ".join(words): _run_here(words) for words in json.loads(sys.stdin.read())}
    sys.stdout.write(json.dumps(answers))
