"""Processes that tests fork: what they are given is what a process of its own would be given."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.forked import Process, fresh, ran, started

#: What a process says of itself; the import is of a module in a folder of PYTHONPATH.
LOOK = """
import json, os, sys, of_the_test
ours = [name for name in sys.modules if name.split(".")[0] in {"worker", "models", "tasks", "refreshd_reader"}]
print(json.dumps([dict(os.environ), os.getcwd(), sys.argv, sys.path[:2], ours, os.getsid(0) == os.getpid(), sys.stdin.read()]))
print("beside it", file=sys.stderr)
sys.exit(7)
"""


def test_a_process_has_an_environment_a_folder_and_arguments_of_its_own_and_nothing_of_ours(
    tmp_path: Path,
) -> None:
    modules = tmp_path / "modules"
    modules.mkdir()
    (modules / "of_the_test.py").touch()
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(modules), "REFRESHD_KEYS": "k"}

    done = ran(["-c", LOOK, "first", "second"], cwd=tmp_path, env=environment)

    assert (done.returncode, done.stderr) == (7, "beside it\n")
    seen, folder, arguments, path, ours, leads_a_session, read = json.loads(done.stdout)
    assert seen == environment
    assert (folder, arguments, path) == (
        str(tmp_path),
        ["-c", "first", "second"],
        [str(tmp_path), str(modules)],
    )
    assert (ours, leads_a_session, read) == ([], True, "")


@pytest.mark.parametrize("start", [started, fresh])
def test_a_process_that_a_signal_ends_says_which(start: Callable[..., Process], tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as log:
        process = start(
            ["-c", "import time; time.sleep(600)"], cwd=tmp_path, env=dict(os.environ), stdout=log, stderr=log
        )
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.01)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == -signal.SIGTERM
    process.kill()
    assert process.poll() == -signal.SIGTERM


def test_an_error_that_nothing_catches_is_printed_and_ends_it_with_1(tmp_path: Path) -> None:
    done = ran(["-c", "raise RuntimeError('so it ends')"], cwd=tmp_path, env=dict(os.environ))
    assert done.returncode == 1
    assert done.stderr.endswith("RuntimeError: so it ends\n")
