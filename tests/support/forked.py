"""Processes that begin with other people's packages imported: most of what a start costs is to import them.

A server imports them once and forks. A child is a process like any other: it has an environment, a folder, files and a
session of its own, and imports all that is ours by itself. Where a start itself is tested, it is begun with
`subprocess`, as a deployment begins it.

    with forking():
        process = started(["celery", "-A", "worker.app", "worker"], cwd=ROOT, env=environment, stdout=log, stderr=log)
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final, Protocol

#: What the processes of a fleet and commands import of others. None of it reads, while it is imported, a variable that
#: a test sets.
PACKAGES: Final = (
    "alembic.migration", "celery.app.amqp", "celery.app.trace", "celery.apps.beat", "celery.apps.worker",
    "celery.backends.redis", "celery.bin.celery", "celery.concurrency.thread", "celery.events", "celery.worker.consumer",
    "celery.worker.strategy", "cryptography.x509", "httpx", "joserfc.jwt", "kombu.transport.redis", "prometheus_client", "psutil", "psycopg",
    "pydantic_settings", "redis.asyncio", "rich.console", "sqlalchemy.dialects.sqlite", "sqlalchemy.dialects.postgresql",
    "sqlalchemy.orm", "sqlmodel", "structlog", "typer",
)  # fmt: skip
_ROOT: Final = Path(__file__).parents[2]
_REQUEST_MAX: Final = 1_000_000
#: How often the end of a child is looked for.
_LOOK_S: Final = 0.02


class Process(Protocol):
    """What tests use of `subprocess.Popen`."""

    @property
    def pid(self) -> int: ...
    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def send_signal(self, sig: int) -> None: ...
    def kill(self) -> None: ...


class ForkServer:
    """The server's end in the process of the tests. It ends with this process."""

    def __init__(self) -> None:
        self._channel, theirs = socket.socketpair()
        self._turn = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.forked", str(theirs.fileno())],
            cwd=_ROOT, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        theirs.close()

    def ask(self, files: Sequence[int] = (), **request: Any) -> Any:
        """Send a request, with files for a child, and return the answer."""
        with self._turn:
            socket.send_fds(self._channel, [json.dumps(request).encode() + b"\n"], files)
            answer = b""
            while not answer.endswith(b"\n"):
                received = self._channel.recv(_REQUEST_MAX)
                assert received, "the server of processes has ended"
                answer += received
        return json.loads(answer)

    def close(self) -> None:
        self._channel.close()
        self._process.wait()


class Child:
    """A process that the server forked."""

    def __init__(self, server: ForkServer, pid: int) -> None:
        self._server = server
        self._pid = pid
        self._code: int | None = None

    @property
    def pid(self) -> int:
        return self._pid

    def poll(self) -> int | None:
        if self._code is None:
            self._code = self._server.ask(ended=self._pid)
        return self._code

    def wait(self, timeout: float | None = None) -> int:
        deadline = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            if deadline is not None and time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(f"process {self._pid}", timeout or 0.0)
            time.sleep(_LOOK_S)
        return code

    def send_signal(self, sig: int) -> None:
        # At once, without asking: until its code has been read, no other process can have its number.
        if self._code is None:
            os.kill(self._pid, sig)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


_server: ForkServer | None = None
_forks = False


@contextmanager
def forking() -> Iterator[None]:
    """Have `started` fork; without it, as in benchmarks, each process begins from nothing."""
    global _server, _forks  # noqa: PLW0603 -- one of each process of tests
    _forks = True
    try:
        yield
    finally:
        _forks = False
        if _server is not None:
            _server.close()
        _server = None


def started(
    words: Sequence[str], *, cwd: Path, env: Mapping[str, str], stdout: IO[bytes], stderr: IO[bytes]
) -> Process:
    """Start a module as `python -m` does, or a text behind `-c`, in a session of its own and with nothing to read."""
    global _server  # noqa: PLW0603 -- one of each process of tests
    if not _forks:
        return fresh(words, cwd=cwd, env=env, stdout=stdout, stderr=stderr)
    _server = _server or ForkServer()
    files = [stdout.fileno(), stderr.fileno()]
    return Child(_server, _server.ask(files, words=list(words), cwd=str(cwd), env=dict(env)))


def fresh(
    words: Sequence[str], *, cwd: Path, env: Mapping[str, str], stdout: IO[bytes], stderr: IO[bytes]
) -> Process:
    """Start it with Python itself, as a deployment does."""
    flags = [] if words[0] == "-c" else ["-m"]
    return subprocess.Popen(
        [sys.executable, *flags, *words],
        cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, start_new_session=True,
    )  # fmt: skip


def ran(words: Sequence[str], *, cwd: Path, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run it to its end, and return what it wrote and its exit code."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        code = started(words, cwd=cwd, env=env, stdout=out, stderr=err).wait()
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode())
    return subprocess.CompletedProcess(list(words), code, *texts)


def _serve(channel: socket.socket) -> dict[str, Any] | None:
    """Answer requests until the tests are over; return, in a child, what it shall run."""
    children: dict[int, int] = {}
    while True:
        text, files, _, _ = socket.recv_fds(channel, _REQUEST_MAX, 2)
        while text and not text.endswith(b"\n"):
            text += channel.recv(_REQUEST_MAX)
        if not text:
            return None
        request = json.loads(text)
        if "words" not in request:
            answer = _end_of(request["ended"], children)
        elif (answer := os.fork()) == 0:
            channel.close()
            _become(request, files)
            return request  # type: ignore[no-any-return]
        for file in files:
            os.close(file)
        channel.sendall(json.dumps(answer).encode() + b"\n")


def _end_of(pid: int, children: dict[int, int]) -> int | None:
    """Return a child's exit code as `subprocess` has it, or None while it runs."""
    if pid not in children:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found == 0:
            return None
        children[pid] = os.waitstatus_to_exitcode(status)
    return children[pid]


def _become(request: Mapping[str, Any], files: Sequence[int]) -> None:
    """Take over what `subprocess` would have given to a new process."""
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDONLY)
    for file, name in zip((nothing, *files), range(3), strict=True):
        os.dup2(file, name)
        os.close(file)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    added = [folder for folder in os.environ.get("PYTHONPATH", "").split(os.pathsep) if folder]
    sys.path[:1] = [request["cwd"], *added]
    sys.argv[:] = request["words"]


def main() -> None:
    """Import, and fork what is asked for."""
    for name in PACKAGES:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()
    request = _serve(socket.socket(fileno=int(sys.argv[1])))
    if request is None:
        return
    first, *others = request["words"]
    if first == "-c":
        sys.argv[:] = ["-c", *others[1:]]
        exec(others[0], {"__name__": "__main__"})  # noqa: S102 -- a test's own
    else:
        runpy.run_module(first, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
