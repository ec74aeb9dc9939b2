"""Runs a service of compose.yaml as a process on this machine: its own command, environment and health check."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Self

#: A cold worker imports for seconds on a busy machine.
HEALTHY_DEADLINE_S: Final = 60.0


class ServiceFailed(RuntimeError):
    """A service ended or did not become healthy; holds the end of what it said."""


class Service:
    """One service. `command` and `healthcheck` are those of compose.yaml, `environment` is the image's and its own."""

    def __init__(self, name: str, definition: Mapping[str, Any], folder: Path, **image: str) -> None:
        self.name = name
        self.command: list[str] = definition["command"]
        self.folder = folder / name
        self.folder.mkdir()
        self.environment = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "REFRESHD_DATA_DIR": str(self.folder),
            **definition["environment"],
            **image,
        }
        self._health: list[str] | None = definition.get("healthcheck", {}).get("test")
        self.log = self.folder / "service.log"
        self._process: subprocess.Popen[bytes] | None = None

    @contextmanager
    def running(self) -> Iterator[Self]:
        """Run it until the block ends, then kill it with all its children if it still runs."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command, cwd=self.folder, env=self.environment, stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        try:
            yield self
        finally:
            if self._process.poll() is None:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()

    @property
    def pid(self) -> int:
        if self._process is None:
            raise ServiceFailed(f"{self.name} does not run")
        return self._process.pid

    def run_once(self) -> str:
        """Run it to its end and give what it printed.

        Raises:
            ServiceFailed: its exit code is not 0.
        """
        with self.running():
            assert self._process is not None
            if self._process.wait(HEALTHY_DEADLINE_S):
                raise ServiceFailed(f"{self.name}: exit code {self._process.returncode}: {self.said}")
        return self.said

    def execute(self, *command: str, given: str = "") -> str:
        """Run a command in its place, as `docker compose exec` does, and give what it printed.

        Raises:
            ServiceFailed: its exit code is not 0.
        """
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment,
            input=given,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise ServiceFailed(
                f"{' '.join(command)}: exit code {done.returncode}: {done.stdout}{done.stderr}"
            )
        return done.stdout

    @property
    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def healthy(self) -> bool:
        """Ask its own health check, once."""
        if self._health is None:
            raise ServiceFailed(f"{self.name} has no health check")
        kind, *words = self._health
        command = ["/bin/sh", "-c", *words] if kind == "CMD-SHELL" else words
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, check=False
        )
        return done.returncode == 0

    def wait_healthy(self) -> None:
        """Wait until its health check passes; raises what `wait_until` raises."""
        self.wait_until(self.healthy)

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait for a condition that the running service brings about.

        Raises:
            ServiceFailed: it ended first, or the condition never held.
        """
        deadline = time.monotonic() + HEALTHY_DEADLINE_S
        while not condition():
            if self._process is None or self._process.poll() is not None:
                raise ServiceFailed(f"{self.name} ended: {self.said[-3000:]}")
            if time.monotonic() > deadline:
                raise ServiceFailed(f"{self.name} did not become healthy: {self.said[-3000:]}")
            time.sleep(0.1)

    def terminate(self, *, within_s: float) -> int:
        """Stop it as `docker compose stop` does, and give its exit code.

        Raises:
            subprocess.TimeoutExpired: it still runs when the grace period is over.
        """
        assert self._process is not None
        self._process.terminate()
        return self._process.wait(within_s)
