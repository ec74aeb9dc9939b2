"""The processes that `up` and `demo` keep running: Celery's own commands, with everything they need in their environment."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from msgspec import Struct
from pydantic import SecretStr

from worker.local.api import api_environment
from worker.local.leftovers import start_child
from worker.local.supervisor import Service
from worker.settings import Settings
from worker.settings.api import ApiSettings

#: What is stopped first: workers store what they have in hand, then who gives them work, Redis last.
WORKERS: Final = 0
AROUND: Final = 1
REDIS: Final = 2

#: Above the longest call: a worker that gets SIGTERM finishes the calls under way, and stores them.
GRACE_BEYOND_CALL_S: Final = 10.0
#: Beat and Flower have nothing to finish.
AROUND_GRACE_S: Final = 5.0
#: The API finishes the answers that it is giving.
API_GRACE_S: Final = 10.0
THREADS: Final = 8
#: The folder within the data folder that holds a lock of each process.
LOCKS: Final = "run"
#: Callbacks that run at once.
CALLBACK_RUNS: Final = 2

_OFF_SECRETS: Final = (
    "REFRESHD_KEYS",
    "REFRESHD_KEYS_FILE",
    "REFRESHD_KEYS_COMMAND",
    "REFRESHD_DATABASE_URL",
    "REFRESHD_DATABASE_PASSWORD_COMMAND",
    "REFRESHD_PUBLISH_KEYS",
    "REFRESHD_WEBHOOK_URL",
    "REFRESHD_WEBHOOK_SECRET",
)
#: Who has these can send tasks, and Flower sends none (SECURITY.md).
_OFF_FLOWER: Final = ("REFRESHD_MESSAGE_KEYS",)


def environment(settings: Settings) -> dict[str, str]:
    """Return our environment with every setting in it as it was resolved: a child reads no other.

    Secrets travel here and never in a command line, which everybody on the machine can read.
    """
    resolved = settings.model_copy(update={"database_url": SecretStr(settings.database)})
    mine = {f"REFRESHD_{name.upper()}": _text(value) for name, value in resolved}
    return {**os.environ, **mine}


def worker_grace_s(settings: Settings) -> float:
    """Return how long a worker gets to end: it finishes the calls under way and stores their results."""
    return settings.call_timeout_s + GRACE_BEYOND_CALL_S


def _text(value: object) -> str:
    match value:
        case None:
            return ""
        case SecretStr():
            return value.get_secret_value()
        case Path():
            return str(value.absolute())
        case tuple():
            return ",".join(value)
        case _:
            return str(value)


class Services(Struct, frozen=True):
    """Makes the services of one data folder."""

    settings: Settings
    log_level: str = "INFO"

    def worker(self, number: int) -> Service:
        """Return a standard worker: threads, one event loop, everything but callbacks."""
        arguments = ["--pool=threads", f"--concurrency={THREADS}", "--queues=urgent,control,refresh"]
        return self._worker(f"worker-{number}", f"standard{number}", arguments, number)

    def callback_worker(self) -> Service:
        """Return the worker for callbacks: other people's code, each run in a process with hard limits of its own."""
        arguments = ["--pool=threads", f"--concurrency={CALLBACK_RUNS}", "--queues=callback"]
        return self._worker("callback", "callback", arguments, 0)

    def beat(self) -> Service:
        """Return beat, which sends a plan every second."""
        arguments = ["beat", f"--loglevel={self.log_level}"]
        return self._celery("beat", arguments, environment=self.environment_of_beat())

    def flower(self, port: int) -> Service:
        """Return Flower, Celery's own web pages, at the address that is set: by default for this machine alone."""
        return self._celery(
            "flower", self.arguments_of_flower(port), environment=self.environment_of_flower()
        )

    def api(self, settings: ApiSettings) -> Service:
        """Return the API, in an environment that opens nothing."""
        given = api_environment(self.settings, settings, environment(self.settings))
        given |= {"REFRESHD_API_HOST": settings.host, "REFRESHD_API_PORT": str(settings.port)}
        given |= {"REFRESHD_API_URL": settings.base_url, "REFRESHD_API_TOKENS": str(settings.tokens).lower()}
        return self._service("api", [sys.executable, "-m", "worker.cli", "api"], given, AROUND, API_GRACE_S)

    def arguments_of_flower(self, port: int) -> list[str]:
        return ["flower", f"--address={self.settings.flower_address}", f"--port={port}"]

    def environment_of_beat(self) -> dict[str, str]:
        """Return an environment without secrets of accounts (an empty variable also hides one of `.env`)."""
        return environment(self.settings) | dict.fromkeys(_OFF_SECRETS, "")

    def environment_of_flower(self) -> dict[str, str]:
        """Return an environment without secrets of accounts or keys of messages: Flower sends no task."""
        return self.environment_of_beat() | dict.fromkeys(_OFF_FLOWER, "")

    def command(self, name: str, command: Sequence[str], given: Mapping[str, str], grace_s: float) -> Service:
        """Return any other process beside the workers."""
        return self._service(name, command, given, AROUND, grace_s)

    def _worker(self, name: str, node: str, arguments: Sequence[str], nth: int) -> Service:
        command = [
            *("worker", f"--hostname={node}@%h", *arguments, "--task-events"),
            *("--without-gossip", "--without-mingle", f"--loglevel={self.log_level}"),
        ]
        grace_s = worker_grace_s(self.settings)
        given = environment(self.settings)
        if self.settings.metrics_port is not None:  # one port a worker, from the one that is set on
            given["REFRESHD_METRICS_PORT"] = str(self.settings.metrics_port + nth)
        return self._celery(name, command, environment=given, phase=WORKERS, grace_s=grace_s)

    def _celery(
        self,
        name: str,
        arguments: Sequence[str],
        *,
        environment: Mapping[str, str],
        phase: int = AROUND,
        grace_s: float = AROUND_GRACE_S,
    ) -> Service:
        command = [sys.executable, "-m", "celery", "--app=worker.app", *arguments]
        return self._service(name, command, environment, phase, grace_s)

    def _service(
        self, name: str, command: Sequence[str], given: Mapping[str, str], phase: int, grace_s: float
    ) -> Service:
        log = self.settings.data_dir / "logs" / f"{name}.log"
        lock = self.settings.data_dir / LOCKS / f"{name}.lock"
        return Service(
            name, lambda: start_child(command, log=log, environment=given, lock=lock), phase, grace_s
        )
