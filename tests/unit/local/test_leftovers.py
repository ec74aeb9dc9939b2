"""Processes that outlive a killed `up` are ended by the next one, and no other process is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.support.waiting import wait_until
from worker.local import leftovers
from worker.local.leftovers import StillRunning, end_leftovers, start_child

#: Starts a child that ignores SIGTERM and has a child of its own, and one that does not; then dies by `kill -9`.
_LEAVE_BEHIND = """
import os, sys, time
from pathlib import Path
from worker.local.leftovers import start_child
folder = Path(sys.argv[1])
scripts = {
    "deaf": f"trap '' TERM; sleep 600 & echo $! > {folder}/draft; mv {folder}/draft {folder}/grandchild; wait; sleep 600",
    "polite": f"trap 'echo > {folder}/finished; exit 0' TERM; echo > {folder}/ready; while :; do sleep 0.02; done",
}
for name, script in scripts.items():
    child = start_child(["/bin/sh", "-c", script], log=folder / "log", environment=os.environ, lock=folder / "run" / f"{name}.lock")
    print(child.pid)
while not ((folder / "grandchild").exists() and (folder / "ready").exists()):
    time.sleep(0.01)
sys.stdout.flush()
os.kill(os.getpid(), 9)
"""


@pytest.fixture
def orphans(tmp_path: Path) -> Iterator[list[psutil.Process]]:
    parent = subprocess.run(
        [sys.executable, "-c", _LEAVE_BEHIND, str(tmp_path)], stdout=subprocess.PIPE, text=True, check=False
    )
    pids = [*parent.stdout.split(), (tmp_path / "grandchild").read_text()]
    processes = [psutil.Process(int(pid)) for pid in pids]
    yield processes
    for process in processes:
        if process.is_running():
            process.kill()


def runs(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def test_what_a_killed_run_left_behind_is_ended_with_its_family(
    orphans: list[psutil.Process], tmp_path: Path
) -> None:
    assert all(map(runs, orphans))
    assert end_leftovers(tmp_path / "run", grace_s=0.2) == 2
    wait_until(lambda: not any(map(runs, orphans)), "everything ended")
    assert end_leftovers(tmp_path / "run", grace_s=0.2) == 0


def test_a_process_that_minds_sigterm_finishes_first(orphans: list[psutil.Process], tmp_path: Path) -> None:
    orphans[0].kill()  # the one that ignores SIGTERM would take all of the grace
    end_leftovers(tmp_path / "run", grace_s=30)
    assert (tmp_path / "finished").exists()


def test_a_family_without_its_leader_is_ended_at_once(orphans: list[psutil.Process], tmp_path: Path) -> None:
    leader, _, grandchild = orphans
    leader.kill()
    assert end_leftovers(tmp_path / "run", grace_s=600) == 2
    wait_until(lambda: not runs(grandchild), "the grandchild ended")


def test_a_pid_in_a_file_that_no_process_locks_is_left_alone(tmp_path: Path) -> None:
    """After a restart of the machine, another process may have that pid."""
    with subprocess.Popen(["/bin/sleep", "600"], start_new_session=True) as other:
        (tmp_path / "worker-1.lock").write_text(f"{other.pid}\n")
        assert end_leftovers(tmp_path, grace_s=5) == 0
        assert other.poll() is None
        other.kill()


def test_a_child_is_not_started_beside_one_of_an_earlier_run(
    orphans: list[psutil.Process], tmp_path: Path
) -> None:
    with pytest.raises(StillRunning, match=f"process {orphans[0].pid} of an earlier run"):
        start_child(["/bin/true"], log=tmp_path / "log", environment={}, lock=tmp_path / "run" / "deaf.lock")


def test_a_process_that_can_not_be_found_is_an_error_with_the_file(
    orphans: list[psutil.Process], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leftovers, "_KILLED_S", 0.1)
    lock = tmp_path / "run" / "deaf.lock"
    lock.write_text("")
    with pytest.raises(StillRunning, match=f"a process of an earlier run still holds {lock}"):
        end_leftovers(tmp_path / "run", grace_s=30)
    os.kill(orphans[0].pid, signal.SIGKILL)
