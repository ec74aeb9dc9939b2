"""The process that callbacks are forked from: it imports them once, and holds no secret.

    python -I -c BOOT '{"path": [...], "modules": [...], "skipped": {...}}' DESCRIPTOR

It makes one run at a time; a worker has a pool of them (`worker.callbacks.host.sandbox`).
"""

from __future__ import annotations

import array
import gc
import json
import logging
import os
import select
import shutil
import signal
import socket
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import Any, BinaryIO, Final, NoReturn

from worker.callbacks.sandbox import limits as confinement
from worker.callbacks.sandbox.protocol import (
    COMMAND_BYTES,
    ENDED,
    IMPORTING,
    READY,
    Command,
    Described,
    Known,
    RunEnded,
    line,
)
from worker.callbacks.sandbox.registry import Registered, registry, source_files
from worker.callbacks.sandbox.run import run

#: How long the count of our user's processes is good for: taking it takes milliseconds.
_COUNT_KEPT_S: Final = 30.0
#: A command comes with two descriptors: the channel, and where output goes.
_DESCRIPTORS: Final = 2
_SIGNALS: Final = (
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
)

#: What the interpreter is started with: the path is the worker's own, and nothing else comes from outside.
BOOT: Final = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1])['path']; "
    "from worker.callbacks.sandbox.fork_server import main; main(sys.argv[1], int(sys.argv[2]))"
)


def main(options: str, descriptor: int) -> NoReturn:
    """Import the operator's modules, send their catalog, then run what is asked for until the pipe ends."""
    wanted = json.loads(options)
    reports = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # what a module prints is no report
    # A line at a time: in order with what is logged, and there even if the run is killed.
    sys.stdout = os.fdopen(1, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    confinement.confine_fork_server()
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    server = ForkServer(socket.socket(fileno=descriptor), reports)
    server.describe(wanted["modules"], wanted["skipped"])
    gc.freeze()  # runs share these pages until one writes to them
    while True:
        server.run_next()


class ForkServer:
    """Forks runs, waits for them, and cleans up after them."""

    def __init__(self, control: socket.socket, reports: BinaryIO) -> None:
        self._control = control
        self._reports = reports
        self._woken, self._wakes = os.pipe()
        for descriptor in (self._woken, self._wakes):
            os.set_blocking(descriptor, False)
        signal.set_wakeup_fd(self._wakes)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self._process_limit = (0, -_COUNT_KEPT_S)

    def describe(self, modules: Sequence[str], skipped: dict[str, str]) -> None:
        """Load everything, and report it; from then on everything else on the machine goes first."""
        known = registry()
        for name in known.load(modules, skipped=skipped):
            self._report(IMPORTING, name)
        confinement.be_nice()
        callbacks = {
            name: Known(name, one.where, one.timeout_s, one.memory_mb)
            for name, one in known.callbacks.items()
        }
        loaded = [*modules, *(one.module for one in known.callbacks.values())]
        self._report(READY, Described(callbacks, known.problems, tuple(source_files(loaded))).to_json())

    def run_next(self) -> None:
        """Wait for a command, run it, report how it ended. Ends this process when the worker is gone."""
        text, descriptors = self._receive()
        if not text:
            os._exit(0)
        command = Command(**json.loads(text))
        callback = registry().callbacks[command.name]
        limit = self._limit()
        folder = tempfile.mkdtemp(prefix="run-")
        until = time.monotonic() + command.hard_s
        process = _Process(os.fork())
        if process.pid == 0:
            try:
                self._become(callback, command, folder, descriptors, limit)
            except BaseException:  # noqa: BLE001  (printed with the output; this process never goes on as a fork server)
                traceback.print_exc()
            finally:
                os._exit(1)
        for descriptor in descriptors:
            os.close(descriptor)
        overtime = not self._wait(process, until)
        self._report(ENDED, asdict(_clean_up(process, folder, overtime=overtime)))

    def _receive(self) -> tuple[bytes, list[int]]:
        size = _DESCRIPTORS * array.array("i").itemsize
        text, ancillary, _, _ = self._control.recvmsg(COMMAND_BYTES, socket.CMSG_SPACE(size))
        descriptors = array.array("i")
        for level, kind, content in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                descriptors.frombytes(content[:size])
        return text, list(descriptors)

    def _become(
        self, callback: Registered, command: Command, folder: str, descriptors: list[int], limit: int
    ) -> None:
        """Become the run, in the forked process."""
        channel, output = descriptors
        os.setpgid(
            0, 0
        )  # a group to be killed as a whole; no session, which would be given a share of the CPU
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for stream in (1, 2):
            os.dup2(output, stream)
        for descriptor in (output, self._control.fileno(), self._reports.fileno(), self._woken, self._wakes):
            os.close(descriptor)
        os.chdir(folder)
        os.environ["TMPDIR"] = tempfile.tempdir = folder
        confinement.confine_run(memory_mb=command.memory_mb, process_limit=limit)
        run(callback, command, socket.socket(fileno=channel))

    def _wait(self, process: _Process, until: float) -> bool:
        """Wait for a run to end; False when its time is over, or when the worker is gone."""
        poll = select.poll()
        poll.register(self._woken, select.POLLIN)
        poll.register(self._control, 0)  # only that it was closed is of interest
        while not process.is_over():
            left_s = until - time.monotonic()
            if left_s <= 0:
                return False
            for descriptor, _ in poll.poll(left_s * 1000):
                if descriptor == self._control.fileno():
                    return False
                with suppress(BlockingIOError):
                    os.read(self._woken, 4096)
        return True

    def _limit(self) -> int:
        limit, counted_at = self._process_limit
        now = time.monotonic()
        if now - counted_at >= _COUNT_KEPT_S:
            limit = confinement.process_limit()
            self._process_limit = (limit, now)
        return limit

    def _report(self, kind: str, content: Any) -> None:
        with suppress(BrokenPipeError):  # the worker is gone, and so is this process, with the next look
            self._reports.write(line({kind: content}))


def _clean_up(process: _Process, folder: str, *, overtime: bool) -> RunEnded:
    """Kill what is left of a run, and forget its folder."""
    confinement.kill_group(process.pid)
    code = process.reap()
    left = confinement.kill_orphans()
    shutil.rmtree(folder, ignore_errors=True)
    return RunEnded(code if code >= 0 else None, -code if code < 0 else None, overtime, left)


class _Process:
    """A forked process, until it is reaped."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._status: int | None = None

    def is_over(self) -> bool:
        """Look, where the system can without reaping: while the zombie is there, no other process gets its pid."""
        if hasattr(os, "waitid"):
            return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        if self._status is None:  # macOS before Python 3.13
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self._status = status if pid else None
        return self._status is not None

    def reap(self) -> int:
        """Wait for its end; returns its exit code, negative: the signal that ended it."""
        if self._status is None:
            _, self._status = os.waitpid(self.pid, 0)
        return os.waitstatus_to_exitcode(self._status)
