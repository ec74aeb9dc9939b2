"""The supervisor with ordinary processes: what ends runs again, what stops stops in order, nothing survives."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.support.waiting import wait_until
from worker.errors import RefreshdError
from worker.local.process import Child
from worker.local.supervisor import (
    FIRST_PAUSE_S,
    Change,
    Killed,
    ProcessEnded,
    Restarted,
    Service,
    Supervisor,
)

Add = Callable[..., None]
_FOREVER = "exec sleep 600"


@pytest.fixture
def supervisor() -> Iterator[Supervisor]:
    made = Supervisor()
    yield made
    made.hurry()
    for _ in made.stop():
        pass


@pytest.fixture
def add(supervisor: Supervisor, tmp_path: Path) -> Add:
    def add(name: str, script: str, *, phase: int = 0, grace_s: float = 30.0) -> None:
        log = tmp_path / f"{name}.log"
        command = ["/bin/sh", "-c", script]
        supervisor.add(Service(name, lambda: Child(command, log=log), phase, grace_s))

    return add


def look_for(supervisor: Supervisor, kind: type[Change]) -> Change:
    """Look until a change of this kind comes."""
    found: list[Change] = []

    def look() -> bool:
        found.extend(change for change in supervisor.look() if isinstance(change, kind))
        return bool(found)

    wait_until(look, kind.__name__)
    return found[0]


def runs(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


class TestRunning:
    def test_what_is_killed_runs_again(self, supervisor: Supervisor, add: Add) -> None:
        add("one", _FOREVER)
        pid = supervisor.running()["one"]
        os.kill(pid, signal.SIGKILL)

        ended = look_for(supervisor, ProcessEnded)
        assert ended == ProcessEnded("one", "was ended by SIGKILL", -signal.SIGKILL, FIRST_PAUSE_S)
        assert supervisor.running() == {}

        again = look_for(supervisor, Restarted)
        assert again == Restarted("one", supervisor.running()["one"])
        assert again.pid != pid

    def test_also_what_ends_without_an_error(self, supervisor: Supervisor, add: Add) -> None:
        """A worker that was told from afar to shut down comes back."""
        add("one", "exit 0")
        ended = look_for(supervisor, ProcessEnded)
        assert isinstance(ended, ProcessEnded)
        assert (ended.cause, ended.exit_code) == ("ended with exit code 0", 0)

    def test_pauses_grow(self, supervisor: Supervisor, add: Add) -> None:
        add("broken", "exit 1")
        pauses = [look_for(supervisor, ProcessEnded) for _ in range(3)]
        assert [p.pause_s for p in pauses if isinstance(p, ProcessEnded)] == [0.5, 1.0, 2.0]

    def test_one_that_can_not_be_started_again_is_tried_again(
        self, supervisor: Supervisor, tmp_path: Path
    ) -> None:
        starts = iter([True, False, True])

        def start() -> Child:
            if next(starts):
                return Child(["/bin/sh", "-c", "exit 1"], log=tmp_path / "log")
            raise RefreshdError("the disk is full")

        supervisor.add(Service("one", start, 0, 1.0))
        assert look_for(supervisor, ProcessEnded) == ProcessEnded("one", "ended with exit code 1", 1, 0.5)
        assert look_for(supervisor, ProcessEnded) == ProcessEnded("one", "the disk is full", None, 1.0)
        assert isinstance(look_for(supervisor, Restarted), Restarted)

    def test_a_first_start_that_fails_is_an_error(self, supervisor: Supervisor, tmp_path: Path) -> None:
        service = Service("none", lambda: Child(["/no/such/program"], log=tmp_path / "log"), 0, 1.0)
        with pytest.raises(FileNotFoundError):
            supervisor.add(service)
        assert supervisor.look() == []


class TestStopping:
    def test_phases_stop_one_after_the_other(self, supervisor: Supervisor, add: Add, tmp_path: Path) -> None:
        """Redis goes last: what workers still have in hand is published."""
        order, ready = tmp_path / "order", tmp_path / "ready"
        polite = f"trap 'echo NAME >> {order}; exit 0' TERM; echo >> {ready}; while :; do sleep 0.02; done"
        for phase, name in ((2, "redis"), (0, "worker"), (1, "beat")):
            add(name, polite.replace("NAME", name), phase=phase)
        wait_until(lambda: ready.exists() and len(ready.read_text()) == 3, "all run")

        assert list(supervisor.stop()) == []
        assert order.read_text().split() == ["worker", "beat", "redis"]
        assert supervisor.running() == {}

    def test_what_does_not_stop_in_time_is_killed_with_its_family(
        self, supervisor: Supervisor, add: Add, tmp_path: Path
    ) -> None:
        pids = tmp_path / "pids"
        add("deaf", f"trap '' TERM; sleep 600 & echo $! > {pids}; wait; sleep 600", grace_s=0.1)
        wait_until(lambda: pids.exists() and bool(pids.read_text()), "it runs")

        (killed,) = supervisor.stop()

        assert isinstance(killed, Killed)
        assert killed.name == "deaf"
        wait_until(lambda: not runs(int(pids.read_text())), "the grandchild ended")

    def test_a_hurried_stop_does_not_wait_for_the_grace(
        self, supervisor: Supervisor, add: Add, tmp_path: Path
    ) -> None:
        ready = tmp_path / "ready"
        add("deaf", f"trap '' TERM; echo > {ready}; while :; do sleep 0.02; done", grace_s=600)
        wait_until(ready.exists, "it runs")
        supervisor.hurry()
        (killed,) = supervisor.stop()
        assert killed.after_s < 600

    def test_stopping_twice_is_stopping_once(self, supervisor: Supervisor, add: Add) -> None:
        add("one", _FOREVER)
        assert list(supervisor.stop()) == []
        assert list(supervisor.stop()) == []

    def test_no_zombie_is_left(self, supervisor: Supervisor, add: Add) -> None:
        before = {child.pid for child in psutil.Process().children()}
        add("one", _FOREVER)
        add("two", _FOREVER)
        list(supervisor.stop())
        assert {child.pid for child in psutil.Process().children()} <= before
