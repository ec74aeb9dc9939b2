"""A fleet whose accounts break one after the other, and what `refreshd explain` prints of them."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sqlalchemy import text

from models.token import Secret
from refreshd_reader.contract import Keys
from tests.support.fleet import ROOT, Fleet, Member
from tests.support.forked import ran
from tests.support.providers.scripted_provider import ScriptedProvider
from tests.support.services import RedisServer, redis_server
from tests.support.waiting import wait_until
from tests.support.world import World
from worker.callbacks.heartbeats import CallbackHeartbeats
from worker.db.engine import writing
from worker.db.migrate import upgrade

#: Members of the fleet, and what each takes from.
STANDARD: Final = "standard"
CALLBACKS: Final = "callbacks"
BEAT: Final = "beat"
ALL: Final = frozenset({STANDARD, CALLBACKS, BEAT})
_QUEUES: Final = {STANDARD: "urgent,control,refresh", CALLBACKS: "callback"}
#: The database of the module's Redis that the fleet works on; the others are empty.
_DATABASE: Final = 0
HOUR_S: Final = 3600.0

_CALLBACKS_FILE: Final = """
import time

from worker.callbacks import CallbackInput, CallbackOutput, ErrorResponse, refresh_callback


def refusing(error: str, description: str) -> CallbackOutput:
    return CallbackOutput(errorResponse=ErrorResponse(error=error, error_description=description))


@refresh_callback("password-changed")
def password_changed(_: CallbackInput) -> CallbackOutput:
    return refusing("invalid_grant", "user changed password")


@refresh_callback("denied")
def denied(_: CallbackInput) -> CallbackOutput:
    return refusing("access_denied", "the resource owner is suspended")


@refresh_callback("busy")
def busy(_: CallbackInput) -> CallbackOutput:
    return refusing("backend_busy", "try later")


@refresh_callback("hangs", timeout_s=1)
def hangs(_: CallbackInput) -> CallbackOutput:
    time.sleep(60)
    raise AssertionError


@refresh_callback("raises")
def raises(_: CallbackInput) -> CallbackOutput:
    raise RuntimeError("no such tenant")


@refresh_callback("works")
def works(inputs: CallbackInput) -> CallbackOutput:
    return CallbackOutput(access_token=f"{inputs.access_token}+", expires_in=3600)
"""


@dataclass(frozen=True, slots=True)
class Printed:
    """What `refreshd explain` printed, and how it ended."""

    code: int
    page: str

    @property
    def lines(self) -> list[str]:
        return self.page.rstrip().splitlines()

    @property
    def text(self) -> str:
        """The page without its line breaks."""
        return " ".join(self.page.split())


class Site:
    """A deployment: stores, a provider, workers and a beat; any of them may be absent in a situation."""

    def __init__(
        self, redis: RedisServer, provider: ScriptedProvider, folder: Path, postgres_url: str
    ) -> None:
        database_url = f"sqlite:///{folder / 'refreshd.db'}"
        upgrade(database_url)
        (folder / "our_callbacks.py").write_text(_CALLBACKS_FILE)
        self.folder = folder
        #: Of a database beside the fleet's, which is migrated and empty.
        self.postgres_url = postgres_url
        self.redis = redis
        self.provider = provider
        self.world = World(
            database_url,
            redis.url_of(_DATABASE),
            folder,
            provider,
            claim_s="3600",
            callback_modules="our_callbacks",
        )
        self.world.environment["PYTHONPATH"] = str(folder)
        self.fleet = Fleet(self.world.environment, folder)

    # --- the fleet ---

    def running(self, members: frozenset[str] = ALL) -> None:
        """Have these members of the fleet run, and no others."""
        for name, member in self.fleet.members.items():
            if name not in members and member.alive:
                member.kill()
        missing = [
            name for name in members if name not in self.fleet.members or not self.fleet.members[name].alive
        ]
        for name in missing:
            _ = self.fleet.beat() if name == BEAT else self.worker(name, _QUEUES[name])
        for name in missing:
            self.fleet.members[name].wait_ready()
        if CALLBACKS in missing:
            offers = CallbackHeartbeats(self.world.stores.redis, "refreshd:").offers
            wait_until(lambda: f"{CALLBACKS}@acceptance" in offers(), "the worker's callbacks")

    def worker(self, name: str, queues: str, **settings: str) -> Member:
        """Start a worker that takes from some queues, with settings of its own."""
        arguments = [
            *("worker", "--pool", "threads", "--concurrency", "4", "--queues", queues),
            *(
                "--hostname",
                f"{name}@acceptance",
                "--without-gossip",
                "--without-mingle",
                "--loglevel",
                "INFO",
            ),
        ]
        member = Member(name, arguments, ready=" ready.", fleet=self.fleet)
        own = {f"REFRESHD_{key.upper()}": value for key, value in settings.items()}
        member._environment = {**self.fleet.environment, **own}
        return self.fleet._start(member)

    @contextmanager
    def on_postgresql(self) -> Iterator[World]:
        """Open the other database, with the fleet's keys."""
        keys = self.world.environment["REFRESHD_KEYS"]
        world = World(self.postgres_url, self.redis.url, self.folder, self.provider, keys=keys)
        yield world
        world.close()

    # --- accounts ---

    def account(self, name: str, *, ended: bool = False, **fields: Any) -> None:
        """Store an account that is not due for hours, with a token that is good or has ended."""
        now = self.world.stores.clock.now()
        known = {
            "next_refresh_at": now + 9 * HOUR_S,
            "plan_at": now + 9 * HOUR_S,
            "issued_at": now - HOUR_S,
            "expires_at": now - HOUR_S / 2 if ended else now + HOUR_S,
        }
        self.world.add([name], **{**known, **fields})

    def refreshed(self, name: str, *, generation: int = 1, queue: str = "urgent") -> None:
        """Have a worker refresh an account, and wait until the attempt is closed, and another may begin."""
        before = len(self.closed(name))
        self.world.push([(name, generation)], queue=queue)
        wait_until(lambda: len(self.closed(name)) > before, f"{name}: an attempt")
        stores = self.world.stores
        wait_until(lambda: not stores.redis.exists(stores.keys.lock(name)), f"{name}: its lease ended")

    def closed(self, name: str) -> list[Any]:
        return [one for one in self.world.attempts(name) if one.closed_at is not None]

    def answers(self, name: str, status: int, body: object, **headers: str) -> None:
        """Have the provider answer an account so, until something else is wanted."""
        named = {key.replace("_", "-"): value for key, value in headers.items()}
        self.provider.answers[name] = (status, body, named)

    def refused(
        self,
        name: str,
        status: int,
        body: object,
        *,
        ended: bool = False,
        headers: Mapping[str, str] = {},
        **fields: Any,
    ) -> None:
        """Have an account refreshed once for good, and then refused."""
        self.account(name, **fields)
        self.refreshed(name)
        self.answers(name, status, body, **headers)
        if ended:
            self.execute("UPDATE account SET expires_at = expires_at - 7200 WHERE id = :id", id=name)
        self.refreshed(name, generation=2)

    def execute(self, statement: str, **parameters: Any) -> None:
        with writing(self.world.stores.engine) as connection:
            connection.execute(text(statement), parameters)

    def seal(self, account: str, column: str, value: str) -> str | None:
        return self.world.stores.sealer.seal(account, column, Secret(value))

    def forget(self, account: str) -> None:
        """Delete a published token behind everybody's back, while the comparison of Redis with SQL rests."""
        self.execute("UPDATE duty SET until = :at WHERE name = 'comparison'", at=time.time() + 50)
        self.world.stores.redis.delete(Keys().token(account))

    def published(self, account: str) -> None:
        wait_until(lambda: self.world.is_published(account), f"{account} is published")
        self.execute("UPDATE account SET published_generation = generation WHERE id = :id", id=account)

    # --- commands ---

    def command(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run `refreshd` as an operator does, 80 columns wide."""
        environment = {**self.fleet.environment, "COLUMNS": "80", **variables}
        return ran(["worker.cli", *arguments], cwd=ROOT, env=environment)

    def explained(self, account: str, **variables: str) -> Printed:
        """Run `refreshd explain`."""
        done = self.command("explain", account, **variables)
        return Printed(done.returncode, done.stdout + done.stderr)


@contextmanager
def site(folder: Path, postgres_url: str) -> Iterator[Site]:
    """Run a deployment; leaving the block ends every process of it."""
    with ExitStack() as stack:
        redis = stack.enter_context(redis_server(folder))
        provider = stack.enter_context(ScriptedProvider(latency_s=0.0, delay_s=60))
        made = Site(redis, provider, folder, postgres_url)
        stack.callback(made.world.close)
        stack.enter_context(made.fleet)
        yield made
