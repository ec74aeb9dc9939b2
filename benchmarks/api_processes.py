"""The processes behind `benchmarks.api`: one API, one worker, and the command line's import."""

from __future__ import annotations

import base64
import json
import os
import resource
import socket
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

from benchmarks.contestants import REFRESHD, THREADS
from benchmarks.processes import START_DEADLINE_S, Process, run

#: More than any machine here answers: what is measured is the API, not its limit.
_UNLIMITED: Final = "1000000"
_SCOPES: Final = ("--scope", "accounts:write", "--scope", "accounts:read")


@dataclass(slots=True)
class Site:
    """A database and a Redis database, and what works on them."""

    database_url: str
    redis_url: str
    folder: Path
    env: dict[str, str] = field(init=False)
    key: str = field(init=False)
    worker: Process | None = None

    def __post_init__(self) -> None:
        self.folder.mkdir()
        self.env = {
            **{name: value for name, value in os.environ.items() if not name.startswith("REFRESHD_")},
            "REFRESHD_DATABASE_URL": self.database_url,
            "REFRESHD_REDIS_URL": self.redis_url,
            "REFRESHD_KEYS": f"bench:{base64.b64encode(os.urandom(32)).decode()}",
            "REFRESHD_DATA_DIR": str(self.folder),
        }
        self.command("db", "upgrade")
        self.key = json.loads(self.command("api-keys", "create", "bench", *_SCOPES, "--json"))["key"]

    def command(self, *words: str) -> str:
        """Run a command of refreshd; return its output."""
        return run((REFRESHD, *words), folder=self.folder, env=self.env)

    def worker_cpu_s(self) -> float:
        """Return the CPU seconds of the worker."""
        return 0.0 if self.worker is None else self.worker.cpu_s()

    def row(self, account: str, *, tokens: bool = True) -> bytes:
        """Return an account as a line of a batch. It is not refreshed while the benchmark runs."""
        entry = {
            "id": account,
            "provider": "generic",
            "client_id": "bench",
            "client_secret": "bench-secret",
            "token_url": "https://provider.example/token",
            "labels": {"tenant": "bench"},
        }
        of_the_token = {
            "access_token": f"at-{account}",
            "refresh_token": f"rt-{account}",
            "issued_at": int(time.time()),
            "expires_in": 30 * 86400,
        }
        # An account that waits for its first grant is not planned.
        return json.dumps(entry | (of_the_token if tokens else {"refresh_enabled": False})).encode() + b"\n"


class Worker(Process):
    """One worker, as it is shipped."""

    def __init__(self, site: Site) -> None:
        command = ("celery", "-A", "worker.app", "worker", "-P", "threads", "-c", str(THREADS), "-l", "INFO")
        super().__init__(
            "worker", (*command, "-Q", "urgent,control,refresh"), folder=site.folder, env=site.env
        )
        self._site = site

    def __enter__(self) -> Self:
        self.start()
        self.wait_for(lambda: "ready" in self.log.read_text(), within_s=START_DEADLINE_S, what="readiness")
        self._site.worker = self
        return self


class Api(Process):
    """One API process, on a port of its own. It holds no key that opens anything."""

    def __init__(self, site: Site) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        intake = site.env.get("REFRESHD_INTAKE_KEY") or site.command("keys", "intake").strip()
        site.env["REFRESHD_INTAKE_KEY"] = intake
        env = {name: value for name, value in site.env.items() if name != "REFRESHD_KEYS"}
        env |= {"REFRESHD_API_PORT": str(port), "REFRESHD_API_REQUESTS_PER_S": _UNLIMITED}
        super().__init__(f"api-{port}", ("worker.cli", "api"), folder=site.folder, env=env)
        self.url, self.key = f"http://127.0.0.1:{port}", site.key

    def __enter__(self) -> Self:
        self.start()
        try:
            self.wait_for(self._answers, within_s=START_DEADLINE_S, what="answer")
        except BaseException:
            self.stop()
            raise
        return self

    def _answers(self) -> bool:
        asked = urllib.request.Request(  # noqa: S310  # loopback
            f"{self.url}/v1/accounts?limit=1", headers={"Authorization": f"Bearer {self.key}"}
        )
        try:
            with urllib.request.urlopen(asked, timeout=5):  # noqa: S310  # loopback
                return True
        except (urllib.error.URLError, OSError):
            return False


def import_file(site: Site, file: Path) -> tuple[float, float]:
    """Import a file by the command line; return its seconds, and its CPU seconds."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    site.command("accounts", "import", str(file))
    took_s, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return took_s, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
