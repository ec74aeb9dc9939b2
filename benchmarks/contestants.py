"""Who takes part: the refreshd worker, the obvious way, and the floor. Each measures one round at a time."""

from __future__ import annotations

import base64
import itertools
import json
import os
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from celery import Celery
from sqlalchemy import Engine, text
from sqlmodel import Session, SQLModel

from benchmarks import obvious
from benchmarks.floor import CLIENT_ID, CLIENT_SECRET
from benchmarks.processes import Process, Provider, run
from benchmarks.provider import LIFETIME_S, refresh_token
from benchmarks.revision import PRESENT, Revision

#: No round is meant to take longer than a few seconds.
ROUND_DEADLINE_S: Final = 120.0
#: The command that was installed beside this Python.
REFRESHD: Final = str(Path(sys.executable).with_name("refreshd"))
#: The standard worker's: 8 groups of 50 are 400 calls in flight.
THREADS: Final = 8
#: Calls that a refreshd worker has under way: between rounds it has closed its connections, and the floor never does.
UNDER_WAY: Final = 800


@dataclass(frozen=True, slots=True)
class Sample:
    """One round: how fast, and what each refresh cost the worker's process(es)."""

    refreshes_per_s: float
    cpu_ms: float

    @classmethod
    def of(cls, refreshes: int, *, elapsed_s: float, cpu_s: float) -> Sample:
        return cls(refreshes / elapsed_s, cpu_s * 1000 / refreshes)


class Contestant(Protocol):
    """What takes part in a round."""

    name: str

    def start(self) -> None: ...
    def measure(self) -> Sample: ...
    def stop(self) -> None: ...


def worker_command(name: str = "celery@%h") -> tuple[str, ...]:
    """Return how an operator starts a worker, with the name of its node."""
    command = ("celery", "-A", "worker.app", "worker", "-P", "threads", "-c", str(THREADS), "-l", "INFO")
    return (*command, "-n", name, "-Q", "urgent,control,refresh")


class Floor:
    """Bare POSTs, a new process each round."""

    name = "(b) bare POSTs"

    def __init__(self, provider: Provider, *, refreshes: int, folder: Path, run_name: str) -> None:
        self._provider = provider
        self._refreshes = refreshes
        self._folder = folder
        self._rounds = (f"{run_name}-{n}" for n in itertools.count())

    def start(self) -> None:
        """Nothing waits between rounds."""

    def measure(self) -> Sample:
        flags = ["--refreshes", str(self._refreshes), "--round", next(self._rounds)]
        if self._provider.ca_file is not None:
            flags += ["--ca", str(self._provider.ca_file)]
        command = (sys.executable, "-m", "benchmarks.floor", self._provider.token_url, *flags)
        seen = json.loads(run(command, folder=self._folder, env=os.environ))
        return Sample(seen["refreshes_per_s"], seen["cpu_s"] * 1000 / self._refreshes)

    def stop(self) -> None:
        """Nothing waits between rounds."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a worker works."""

    database_url: str
    redis_url: str
    provider: Provider
    folder: Path


class CeleryWorker(ABC):
    """A Celery worker with accounts of its own, all of them refreshed once a round."""

    def __init__(self, name: str, place: Place, *, accounts: list[str], process: Process) -> None:
        self.name = name
        self._place = place
        self.accounts = accounts
        self.process = process
        self._queue = Celery(broker=place.redis_url, set_as_current=False)
        self._engine: Engine = obvious.make_engine(place.database_url)

    @abstractmethod
    def prepare(self) -> None:
        """Store the accounts."""

    @abstractmethod
    def messages(self) -> list[dict[str, Any]]:
        """Return the arguments of `send_task` for one round."""

    @abstractmethod
    def refreshes(self) -> int:
        """Count the refreshes of all accounts since they were stored."""

    @abstractmethod
    def unpublished(self) -> int:
        """Count the accounts whose latest token is not published; 0 where the contestant publishes none."""

    def start(self) -> None:
        """Start the worker. Nobody waits until it is ready: the first round does, and doesn't count."""
        self.prepare()
        self.process.start()

    def measure(self) -> Sample:
        """Refresh every account once: from the first message to the last token stored."""
        asked = len(self.accounts)
        answered, stored = self._answered() + asked, self.refreshes() + asked
        messages = self.messages()
        cpu_s, began_at = self.cpu_s(), time.monotonic()
        for message in messages:
            self._queue.send_task(**message)
        # The provider is asked first, and the database only at the end: asking it costs the contestants.
        self._wait(lambda: self._answered() >= answered, what="answers to all refreshes")
        self._wait(lambda: self.refreshes() >= stored, what="all tokens stored")
        self._wait(lambda: self.unpublished() == 0, what="all tokens published")
        elapsed_s = time.monotonic() - began_at
        return Sample.of(asked, elapsed_s=elapsed_s, cpu_s=self.cpu_s() - cpu_s)

    def cpu_s(self) -> float:
        """Return the CPU seconds that its processes have used."""
        return self.process.cpu_s()

    def stop(self) -> None:
        self.process.stop()
        self._queue.close()
        self._engine.dispose()

    def _answered(self) -> int:
        return self._place.provider.tally()["answered"]

    def _wait(self, condition: Callable[[], bool], *, what: str) -> None:
        self.process.wait_for(condition, within_s=ROUND_DEADLINE_S, what=what)

    def _number(self, statement: str) -> int:
        with self._engine.connect() as connection:
            return int(connection.execute(text(statement)).scalar_one())


class Obvious(CeleryWorker):
    """One account a task on prefork (`benchmarks.obvious`)."""

    def __init__(self, place: Place, *, concurrency: int, accounts: int) -> None:
        name = f"obvious-c{concurrency}"
        self.concurrency = concurrency
        env = {**os.environ, "BENCH_REDIS_URL": place.redis_url, "BENCH_DATABASE_URL": place.database_url}
        command = (
            "celery",
            "-A",
            "benchmarks.obvious",
            "worker",
            "-P",
            "prefork",
            "-c",
            str(concurrency),
            "-l",
            "INFO",
        )
        process = Process(name, command, folder=place.folder, env=env)
        ids = [f"{name}-{place.folder.name}-{n}" for n in range(accounts)]
        super().__init__(f"(a) -c {concurrency}", place, accounts=ids, process=process)

    def prepare(self) -> None:
        SQLModel.metadata.create_all(self._engine, tables=[obvious.Grant.metadata.tables["obvious_grant"]])
        with Session(self._engine) as session:
            session.add_all(
                obvious.Grant(
                    id=account,
                    token_url=self._place.provider.token_url,
                    client_id=CLIENT_ID,
                    client_secret=CLIENT_SECRET,
                    refresh_token=refresh_token(account),
                )
                for account in self.accounts
            )
            session.commit()

    def messages(self) -> list[dict[str, Any]]:
        return [{"name": "obvious.refresh", "args": [account]} for account in self.accounts]

    def refreshes(self) -> int:
        return self._number("SELECT sum(refreshes) FROM obvious_grant")

    def unpublished(self) -> int:
        return 0


class Refreshd(CeleryWorker):
    """One refreshd worker process, started as an operator starts it, its accounts imported from a file.

    Args:
        place: where it works.
        accounts: how many accounts are refreshed each round.
        revision: the code that it runs.
    """

    def __init__(self, place: Place, *, accounts: int, revision: Revision = PRESENT) -> None:
        self._revision = revision
        self.env = {
            **{name: value for name, value in os.environ.items() if not name.startswith("REFRESHD_")},
            "REFRESHD_DATABASE_URL": place.database_url,
            "REFRESHD_REDIS_URL": place.redis_url,
            "REFRESHD_KEYS": f"bench:{base64.b64encode(os.urandom(32)).decode()}",
            "REFRESHD_DATA_DIR": str(place.folder),
            "REFRESHD_ALLOW_HTTP_HOSTS": "127.0.0.1",
            # The provider of this benchmark has no limits; refreshd's defaults are kind to those that do.
            "REFRESHD_REQUESTS_PER_S": "100000",
            "REFRESHD_MAX_IN_FLIGHT": "100000",
            **revision.env,
        }
        if place.provider.ca_file is not None:
            self.env["REFRESHD_CA_FILE"] = str(place.provider.ca_file)
        process = Process("refreshd", worker_command(), folder=place.folder, env=self.env)
        ids = [f"refreshd-{place.folder.name}-{n}" for n in range(accounts)]
        self._opening = [f"opening-{place.folder.name}-{n}" for n in range(UNDER_WAY)]
        super().__init__(revision.name, place, accounts=ids, process=process)

    def prepare(self) -> None:
        accounts = self._place.folder / "accounts.jsonl"
        accounts.write_text(
            "".join(f"{json.dumps(self._entry(account))}\n" for account in [*self._opening, *self.accounts])
        )
        for command in (("db", "upgrade"), ("accounts", "import", str(accounts))):
            run((REFRESHD, *command), folder=self._place.folder, env=self.env)

    def measure(self) -> Sample:
        self._open_connections()
        return super().measure()

    def _open_connections(self) -> None:
        stored = self.refreshes() + len(self._opening)
        for message in self._asking_for(self._opening):
            self._queue.send_task(**message)
        self._wait(lambda: self.refreshes() >= stored, what="connections to the provider")
        self._wait(lambda: self.unpublished() == 0, what="all tokens published")

    def messages(self) -> list[dict[str, Any]]:
        return self._asking_for(self.accounts)

    def _asking_for(self, accounts: Collection[str]) -> list[dict[str, Any]]:
        wanted = frozenset(accounts)
        with self._engine.connect() as connection:
            rows = connection.execute(text("SELECT id, generation FROM account")).all()
        pairs = [[account, generation] for account, generation in rows if account in wanted]
        size = self._revision.accounts_a_message(len(pairs))
        groups = (pairs[n : n + size] for n in range(0, len(pairs), size))
        return [
            {
                "name": "refreshd.refresh",
                "kwargs": {"accounts": group, "reason": "forced"},
                "queue": "urgent",
            }
            for group in groups
        ]

    def refreshes(self) -> int:
        return self._number("SELECT sum(generation) FROM account")

    def unpublished(self) -> int:
        return self._number("SELECT count(*) FROM account WHERE published_generation < generation")

    def _entry(self, account: str) -> dict[str, Any]:
        return {
            "id": account,
            "provider": "bench",
            "client_id": CLIENT_ID,
            "client_secret": CLIENT_SECRET,
            "access_token": f"at-{account}",
            "refresh_token": refresh_token(account),
            "token_url": self._place.provider.token_url,
            "issued_at": int(time.time()),
            "expires_in": LIFETIME_S,
        }
