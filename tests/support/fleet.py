"""Real processes of one fleet: workers and beats, started, killed, paused, continued and terminated."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import psutil

from tests.support.forked import Process, fresh, started
from tests.support.waiting import wait_until

#: A cold worker imports for seconds on a busy machine.
READY_DEADLINE_S: Final = 60.0
#: Characters of each process's log that a failed test shows.
LOG_TAIL: Final = 4000
ROOT: Final = Path(__file__).parents[2]
_LOG: Final = ("--loglevel", "INFO")
_PLAIN: Final = ("--without-gossip", "--without-mingle", "--task-events")


class Member:
    """One process of the fleet: `celery -A worker.app ...` in a session of its own, its output in a file."""

    def __init__(self, name: str, arguments: list[str], *, ready: str, fleet: Fleet) -> None:
        self.name = name
        self.log = fleet.folder / f"{name}.log"
        self._arguments = arguments
        self._ready = ready
        self._environment = fleet.environment
        self._root = fleet.root
        self._forked = fleet.forked
        self._started_at = 0
        self._process: Process | None = None

    @property
    def process(self) -> Process:
        assert self._process is not None, f"{self.name} was not started"
        return self._process

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def said(self) -> str:
        """What it said since it was started last."""
        return self.log.read_bytes()[self._started_at :].decode(errors="replace")

    def start(self) -> Self:
        """Start, without waiting for it to be ready."""
        with self.log.open("ab") as log:
            self._started_at = log.tell()
            start = started if self._forked else fresh
            words = ["celery", "-A", "worker.app", *self._arguments]
            self._process = start(words, cwd=self._root, env=self._environment, stdout=log, stderr=log)
        return self

    def wait_ready(self) -> Self:
        """Wait until it says that it works."""
        wait_until(lambda: self._ready in self.said or not self.alive, f"{self.name} ready", READY_DEADLINE_S)
        assert self.alive, f"{self.name} ended: {self.said[-3000:]}"
        return self

    def kill(self) -> None:
        """End it and its children as a crash of the machine would."""
        for process in self._family():
            with suppress(psutil.NoSuchProcess):  # a child that has ended by itself since
                process.kill()
        self.process.wait()

    def pause(self) -> None:
        """Stop it and its children where they stand (SIGSTOP)."""
        for process in self._family():
            process.suspend()

    def resume(self) -> None:
        """Let it go on (SIGCONT)."""
        for process in self._family():
            process.resume()

    def terminate(self) -> None:
        """Ask it to end (SIGTERM), as a supervisor does."""
        self.process.send_signal(signal.SIGTERM)

    def wait_ended(self, within_s: float) -> int:
        """Wait for its end and give its exit code."""
        return self.process.wait(within_s)

    def _family(self) -> list[psutil.Process]:
        try:
            leader = psutil.Process(self.pid)
            return [leader, *leader.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []


class Fleet:
    """Workers and beats of one environment. Leaving the block ends all of them.

    Args:
        environment: the REFRESHD_* variables.
        folder: for logs.
        root: the program's folder, from which processes are started.
        forked: processes begin with other people's packages imported (see `forked`), or as in a deployment.
    """

    def __init__(
        self, environment: Mapping[str, str], folder: Path, root: Path = ROOT, *, forked: bool = True
    ) -> None:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("REFRESHD_")}
        self.environment = {**inherited, **environment}
        self.folder = folder
        self.root = root
        self.forked = forked
        self.members: dict[str, Member] = {}

    def worker(self, name: str = "worker", *, pool: str = "threads", concurrency: int = 8) -> Member:
        """Start a worker."""
        arguments = ["worker", "--pool", pool, "--concurrency", str(concurrency), *_PLAIN, *_LOG]
        arguments += ["--hostname", f"{name}@acceptance"]
        return self._start(Member(name, arguments, ready=" ready.", fleet=self))

    def beat(self, name: str = "beat") -> Member:
        """Start a beat."""
        return self._start(Member(name, ["beat", *_LOG], ready="beat: Starting", fleet=self))

    def flower(self, name: str = "flower") -> Member:
        """Start Flower."""
        return self._start(Member(name, ["flower"], ready="Visit me at", fleet=self))

    def _start(self, member: Member) -> Member:
        self.members[member.name] = member
        return member.start()

    def wait_ready(self) -> Self:
        """Wait until all of them work."""
        for member in self.members.values():
            member.wait_ready()
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for member in self.members.values():
            if member.alive:
                member.kill()
            if error is not None and member.log.exists():
                print(f"--- {member.log.name}, its end:\n{member.said[-LOG_TAIL:]}")
