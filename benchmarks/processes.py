"""Processes that a benchmark starts: their log, the CPU they and their children used, and their end."""

from __future__ import annotations

import json
import re
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import psutil

from tests.support.providers.certificates import Authority

START_DEADLINE_S: Final = 30.0
#: A worker that is told to stop ends the calls under way, which here last 200 ms.
STOP_DEADLINE_S: Final = 30.0
POLL_S: Final = 0.02

_ADDRESS: Final = re.compile(r"^(https?://\S+)$", re.MULTILINE)


class BenchmarkBroken(RuntimeError):
    """The run says nothing about speed: a process failed, or did something wrong."""


class Process:
    """One process, its output in a file."""

    def __init__(self, name: str, command: Sequence[str], *, folder: Path, env: Mapping[str, str]) -> None:
        self.name = name
        self.folder = folder
        self.log = folder / f"{name}.log"
        self._command = [sys.executable, "-m", *command]
        self._env = dict(env)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=self.folder,  # no .env of the developer's is read
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def wait_for(self, condition: Callable[[], bool], *, within_s: float, what: str) -> None:
        """Wait for something that this process brings about.

        Raises:
            BenchmarkBroken: it ended, or `within_s` seconds passed.
        """
        deadline = time.monotonic() + within_s
        while not condition():
            if self._running().poll() is not None:
                raise BenchmarkBroken(f"{self.name} ended while we waited for {what}: {self._log_end()}")
            if time.monotonic() > deadline:
                raise BenchmarkBroken(
                    f"{self.name}: no {what} within {within_s:g} seconds: {self._log_end()}"
                )
            time.sleep(POLL_S)

    @property
    def pid(self) -> int:
        return self._running().pid

    def cpu_s(self) -> float:
        """CPU seconds, user and system, that this process and its living children have used."""
        parent = psutil.Process(self._running().pid)
        times = [process.cpu_times() for process in (parent, *parent.children(recursive=True))]
        return sum(t.user + t.system for t in times)

    def stop(self) -> None:
        """End it politely, and after a while not."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(STOP_DEADLINE_S)
        except subprocess.TimeoutExpired:
            for child in psutil.Process(process.pid).children(recursive=True):
                child.kill()
            process.kill()
            process.wait()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise BenchmarkBroken(f"{self.name} was not started")
        return self._process

    def _log_end(self) -> str:
        return self.log.read_text(errors="replace")[-3000:]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class Provider(Process):
    """`benchmarks.provider` in a process of its own.

    Args:
        latency_ms: how long each answer takes.
        folder: for its log, and its certificate.
        env: its environment.
        tls: it is asked by https; `ca_file` signs its certificate.
    """

    def __init__(self, *, latency_ms: float, folder: Path, env: Mapping[str, str], tls: bool = False) -> None:
        command: tuple[str, ...] = ("benchmarks.provider", "--latency-ms", str(latency_ms))
        self.ca_file: Path | None = None
        if tls:
            authority = Authority("benchmark")
            self.ca_file = folder / "ca.pem"
            self.ca_file.write_text(authority.certificate)
            certificate, key = authority.sign("localhost").written(folder, "provider")
            command += ("--certificate", str(certificate), "--key", str(key))
        self._trust = None if self.ca_file is None else ssl.create_default_context(cafile=self.ca_file)
        super().__init__("provider", command, folder=folder, env=env)
        self.address = ""

    def __enter__(self) -> Self:
        self.start()
        try:
            self.wait_for(
                lambda: _ADDRESS.search(self.log.read_text()) is not None,
                within_s=START_DEADLINE_S,
                what="address",
            )
        except BenchmarkBroken:
            self.stop()
            raise
        self.address = _ADDRESS.findall(self.log.read_text())[0]
        return self

    @property
    def token_url(self) -> str:
        return f"{self.address}/token"

    def tally(self) -> dict[str, int]:
        """Return what the provider counted: `requests`, `answered`, `overlaps`, `reuses`."""
        with urllib.request.urlopen(f"{self.address}/tally", timeout=5, context=self._trust) as response:  # noqa: S310  # loopback
            tally: dict[str, int] = json.load(response)
        return tally


def run(command: Sequence[str], *, folder: Path, env: Mapping[str, str]) -> str:
    """Run a command to its end and give its output.

    Raises:
        BenchmarkBroken: it failed.
    """
    result = subprocess.run(
        list(command),
        cwd=folder,
        env=dict(env),
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode:
        raise BenchmarkBroken(f"{' '.join(command)} ended with {result.returncode}: {result.stderr[-3000:]}")
    return result.stdout
