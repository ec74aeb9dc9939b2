"""Child processes and folder locks: nothing outlives what it belongs to."""

from __future__ import annotations

import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.support.waiting import wait_until
from worker.crypto.private_file import read_or_make, write_private
from worker.local.file_lock import FolderLock
from worker.local.process import Child

Start = Callable[..., Child]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[Child] = []

    def make(script: str, **options: object) -> Child:
        child = Child(["/bin/sh", "-c", script], log=tmp_path / "log", **options)  # type: ignore[arg-type]
        started.append(child)
        return child

    yield make
    for child in started:
        child.kill()


def runs(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


class TestChild:
    def test_its_output_is_appended_to_a_private_log(self, start: Start) -> None:
        for word in ("one", "two"):
            child = start(f"echo {word}; echo {word}! >&2")
            child.wait(10)
        assert child.log.read_text() == "one\none!\ntwo\ntwo!\n"
        assert stat.S_IMODE(child.log.stat().st_mode) == 0o600

    @pytest.mark.parametrize(("script", "code"), [("exit 7", 7), ("kill -9 $$", -9)])
    def test_its_end_is_told_by_its_exit_code(self, start: Start, script: str, code: int) -> None:
        assert start(script).wait(10) == code

    def test_it_leads_a_session_of_its_own(self, start: Start) -> None:
        child = start("exec sleep 60")
        assert psutil.Process(child.pid).terminal() is None
        child.terminate()
        assert child.wait(10) == -signal.SIGTERM

    def test_what_it_leaves_behind_ends_with_it(self, start: Start, tmp_path: Path) -> None:
        child = start("sleep 60 & echo $! > grandchild; exit 0".replace("grandchild", str(tmp_path / "pid")))
        assert child.wait(10) == 0
        grandchild = int((tmp_path / "pid").read_text())
        wait_until(lambda: not runs(grandchild), "the grandchild ended")

    def test_killing_it_kills_its_family(self, start: Start, tmp_path: Path) -> None:
        child = start(f"trap '' TERM; sleep 60 & echo $! > {tmp_path / 'pid'}; wait; sleep 60")
        wait_until(lambda: (tmp_path / "pid").exists() and bool((tmp_path / "pid").read_text()), "it began")
        child.terminate()
        assert child.wait(0.1) is None
        child.kill()
        assert child.ended() == -signal.SIGKILL
        wait_until(lambda: not runs(int((tmp_path / "pid").read_text())), "the grandchild ended")

    def test_signals_to_one_that_ended_reach_nobody(self, start: Start) -> None:
        child = start("exit 0")
        child.wait(10)
        child.terminate()
        child.kill()
        assert child.ended() == 0

    def test_it_gets_the_environment_that_it_is_given(self, start: Start) -> None:
        child = start("echo $WORD", environment={"WORD": "here"})
        child.wait(10)
        assert child.log.read_text() == "here\n"


class TestFolderLock:
    def test_one_holds_it_at_a_time(self, tmp_path: Path) -> None:
        one, other = FolderLock(tmp_path / "lock"), FolderLock(tmp_path / "lock")
        assert one.acquire()
        assert not other.acquire()
        one.release()
        assert other.acquire()
        other.release()

    def test_it_ends_with_a_process_that_is_killed(self, tmp_path: Path) -> None:
        script = (
            "import os, sys; from pathlib import Path; from worker.local.file_lock import FolderLock\n"
            "print(FolderLock(Path(sys.argv[1])).acquire(), flush=True); os.kill(os.getpid(), 9)"
        )
        killed = subprocess.run(
            [sys.executable, "-c", script, str(tmp_path / "lock")], stdout=subprocess.PIPE, check=False
        )
        assert killed.stdout == b"True\n"
        lock = FolderLock(tmp_path / "lock")
        assert lock.holder() is not None
        assert lock.acquire()
        lock.release()

    def test_a_child_that_inherits_it_holds_it_on(self, start: Start, tmp_path: Path) -> None:
        lock = FolderLock(tmp_path / "lock")
        assert lock.acquire()
        child = start("exec sleep 60", keep=[lock.descriptor])
        lock.release()
        assert not lock.acquire()
        child.kill()
        assert lock.acquire()
        lock.release()


class TestPrivateFile:
    def test_only_its_owner_reads_it(self, tmp_path: Path) -> None:
        write_private(tmp_path / "secret", "one")
        write_private(tmp_path / "secret", "two")
        assert (tmp_path / "secret").read_text() == "two"
        assert stat.S_IMODE((tmp_path / "secret").stat().st_mode) == 0o600
        assert [path.name for path in tmp_path.iterdir()] == ["secret"]

    def test_what_is_there_stays(self, tmp_path: Path) -> None:
        assert read_or_make(tmp_path / "secret", lambda: "made") == "made"
        assert read_or_make(tmp_path / "secret", lambda: "made again") == "made"

    def test_a_folder_that_is_missing_leaves_no_draft(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError):
            write_private(tmp_path / "nowhere" / "secret", "text")
        assert list(tmp_path.iterdir()) == []
