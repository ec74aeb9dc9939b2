"""One server process of the tests: started, stopped, killed with its children, started again on its port."""

from __future__ import annotations

import pwd
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Final, TypedDict

import psutil

#: A cold machine that runs other things needs seconds; a server that takes longer is broken.
START_DEADLINE_S: Final = 30.0
STOP_DEADLINE_S: Final = 10.0
#: A free port can be taken by somebody else between the look and the bind.
PORT_TRIES: Final = 5


def sigterm_ends_as_ctrl_c_does() -> None:
    """Have a program that starts servers stop them when a supervisor, or `timeout`, ends it."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


class ServerFailed(RuntimeError):
    """A server ended or did not answer; holds the end of its log."""


class ServerProcess:
    """One server process: start, stop, kill -9 with all its children, start again on the same port."""

    def __init__(self, name: str, folder: Path, port: int | None) -> None:
        self.name = name
        self.folder = folder
        self.log = folder / "server.log"
        self._fixed_port = port is not None
        self.port = port or free_port()
        self.user: str | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        if self._process is None:
            raise ServerFailed(f"{self.name} does not run")
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start, and wait until it answers. Only the first start may move to another port."""
        if self.running:
            return
        for tries_left in reversed(range(PORT_TRIES)):
            try:
                self._start_once()
            except ServerFailed:
                self.kill()
                if self._fixed_port or not tries_left:
                    raise
                self.port = free_port()
            else:
                self._fixed_port = True
                return

    def stop(self) -> None:
        """End it as an operator would; its data is complete."""
        self._end(self._polite_signal())

    def kill(self) -> None:
        """End it as a crash would: SIGKILL to it and to each of its children."""
        self._end(signal.SIGKILL)

    def _end(self, signum: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        family = _family(process.pid)
        if signum == signal.SIGKILL:
            for member in family:
                _send(member, signum)
        else:
            process.send_signal(signum)
        try:
            process.wait(STOP_DEADLINE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        _, left = psutil.wait_procs(family, timeout=STOP_DEADLINE_S)
        for member in left:
            _send(member, signal.SIGKILL)

    def _start_once(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command(),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C in a terminal ends the test run, which then ends the server
                **run_as(self.user),
            )
        deadline = time.monotonic() + START_DEADLINE_S
        while not self._answers():
            if self._process.poll() is not None:
                raise ServerFailed(f"{self.name} ended: {self._log_end()}")
            if time.monotonic() > deadline:
                raise ServerFailed(f"{self.name} did not answer in {START_DEADLINE_S:g} s: {self._log_end()}")
            time.sleep(0.02)

    def _log_end(self) -> str:
        return self.log.read_text(errors="replace")[-2000:]

    def _polite_signal(self) -> signal.Signals:
        return signal.SIGTERM

    def _command(self) -> list[str]:
        raise NotImplementedError

    def _answers(self) -> bool:
        raise NotImplementedError


def free_port() -> int:
    """Return a loopback TCP port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Identity(TypedDict, total=False):
    """The arguments of `subprocess.Popen` that say whom a child runs as."""

    user: str
    group: int
    extra_groups: list[str]


def run_as(user: str | None) -> Identity:
    """Return what makes a child run as `user`, with no group but the user's own; nothing for None."""
    return {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []} if user else {}


def _family(pid: int) -> list[psutil.Process]:
    try:
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _send(process: psutil.Process, signum: signal.Signals) -> None:
    with suppress(psutil.NoSuchProcess):
        process.send_signal(signum)
