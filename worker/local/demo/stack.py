"""The stack of the demo: what `up` runs, and the local provider and its accounts beside it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import closing, suppress
from typing import Final

import httpx
from msgspec.structs import replace

from worker.errors import RefreshdError
from worker.local.api import KEY_FILE
from worker.local.demo.accounts import DemoAccount, Story, demo_accounts
from worker.local.demo.previous_run import PreviousRun
from worker.local.demo.screen import Place
from worker.local.demo.workspace import REDIS_ADDRESS, Workspace
from worker.local.ports import LOOPBACK
from worker.local.processes import environment
from worker.local.stack import Stack, Step, Task
from worker.redis.client import connect, in_words
from worker.settings import Settings

#: As a provider that is some way off: long enough that two refreshes of one account would meet.
LATENCY_S: Final = 0.2
PROVIDER_GRACE_S: Final = 3.0
PROVIDER_START_S: Final = 30.0


class DemoFailed(RefreshdError):
    """The demo can't begin; the message says why."""


class DemoStack(Stack):
    """Everything of `up` in a folder of its own, a provider, and accounts that it knows."""

    def __init__(self, settings: Settings, ground: Workspace) -> None:
        super().__init__(settings)
        self.ground = ground
        self.accounts: Sequence[DemoAccount] = ()
        self._provider_port = 0
        # Its tokens are made up.
        self._api_overrides = {"tokens": True, "host": LOOPBACK, "url": None}
        #: Whether the last demo goes on.
        self.goes_on = False

    @property
    def provider_url(self) -> str:
        return f"http://{LOOPBACK}:{self._provider_port}"

    def set_the_scene(self, number: int, *, keep: bool) -> None:
        """Empty the folder, unless the last demo shall go on, and write what this one needs."""
        self.goes_on = keep
        if not keep:
            self.ground.clear()
        self.logs.mkdir(mode=0o700, exist_ok=True)
        self.accounts = demo_accounts(self.ground.kept_number() or number)
        self._provider_port = self.ground.prepare(self.accounts)

    def tasks(self, *, flower: bool) -> list[Task]:
        """What is to be done, in this order."""
        tasks: list[Task] = [
            ("Starting Redis", self.start_redis),
            ("Making a key", self.find_keys),
            ("Preparing the database", self.migrate),
            ("Starting the provider", self.start_provider),
            ("Starting workers", lambda: self.start_workers(1)),
        ]
        tasks.append(("Starting the API", self.start_api))
        if flower:
            tasks.append(("Starting Flower", self.start_flower))
        # Last: everything else needs seconds to start, and starts meanwhile.
        return [*tasks, ("Importing accounts", self.import_accounts)]

    def start_redis(self) -> Step:
        """Start Redis; one that is set must hold nothing but a former demo of this folder.

        Raises:
            DemoFailed: it holds something else.
        """
        step = super().start_redis()
        if self.embedded is None:
            self._claim_foreign_redis()
        return step

    def find_keys(self) -> Step:
        """Make a key, which needs no copy."""
        return replace(super().find_keys(), note="")

    def start_provider(self) -> Step:
        """Start the local provider."""
        command = [
            *(sys.executable, "-m", "worker.local.demo.provider", "--port", str(self._provider_port)),
            *("--grants", str(self.ground.grants), "--signing-key", str(self.ground.signing_key)),
            *("--latency-s", str(LATENCY_S)),
        ]
        self.supervisor.add(self.services.command("provider", command, os.environ, PROVIDER_GRACE_S))
        return Step("Provider", f"{self.provider_url}, rotates refresh tokens, revokes on reuse")

    def import_accounts(self) -> Step:
        """Import the accounts file with `refreshd accounts import`, as anybody would.

        Raises:
            DemoFailed: a row was refused, or the provider that the accounts are of does not answer.
        """
        done = subprocess.run(  # noqa: S603  (our own command)
            [sys.executable, "-m", "worker.cli", "accounts", "import", str(self.ground.accounts), "--json"],
            env=environment(self.settings),
            capture_output=True,
            text=True,
            check=False,
            start_new_session=True,
        )
        if done.returncode != 0:
            raise DemoFailed(f"the accounts were not imported: {(done.stderr or done.stdout).strip()}")
        self._wait_for_the_provider()
        self._write_shell()
        counts = json.loads(done.stdout)
        words = ", ".join(f"{counts[name]} {name.replace('_', ' ')}" for name in _COUNTS if counts[name])
        return Step("Accounts", f"{words} (refreshd accounts import {self.ground.accounts.name})")

    def place(self) -> Place:
        """Return what runs where, and what a person may try."""
        flower = "not started (--no-flower)"
        if self.flower_url is not None:
            flower = f"{self.flower_url}   {self.login(reveal=True)}"
        worker = self.supervisor.running().get("worker-1")
        first = self.accounts[0].id
        return Place(
            facts=[
                ("Flower", flower),
                (
                    "API",
                    f"{self.api.base_url if self.api else ''}   key in {KEY_FILE}, documentation at /docs",
                ),
                ("Provider", f"{self.provider_url}   rotates refresh tokens, revokes on reuse"),
                ("Files", f"{self.data_dir}   accounts.jsonl, logs/ ..."),
                *([("On purpose", self._on_purpose())] if self._broken else []),
            ],
            hints=[
                (f". {self.ground.shell}", "first: PATH and REFRESHD_DATA_DIR"),
                (f"refreshd explain {self._broken or first}", "why an account has no token"),
                (self._redis_hint(first), "what connectors get"),
                (f"refreshd refresh {first} --force --wait", "through a worker, at once"),
                (f'curl -H "$DEMO_KEY" {self.api.base_url if self.api else ""}/v1/accounts', "the API"),
                (f"kill -9 {worker or '...'}", "the worker: nothing is lost"),
            ],
        )

    def _write_shell(self) -> None:
        """Write where everything is: once, when all of it runs, so that no shell reads half of it."""
        self.ground.write_shell(
            embedded_redis=self.embedded is not None,
            provider_url=self.provider_url,
            api_url=self.api.base_url if self.api else "",
        )

    def _claim_foreign_redis(self) -> None:
        with in_words(self.redis_url), closing(connect(self.redis_url)) as redis:
            former = PreviousRun(redis, self.settings.redis_prefix, str(self.data_dir))
            remedy = "name another database of it (redis://.../15), or unset it"
            if not former.was_here():
                if redis.dbsize():
                    raise DemoFailed(
                        "the Redis of REFRESHD_REDIS_URL is not empty, and a demo has no business among other data: "
                        + remedy
                    )
            elif (other := former.others()) is not None:
                raise DemoFailed(
                    f"the Redis of REFRESHD_REDIS_URL holds more than the last demo left ({other}), and a demo has no "
                    f"business among other data: {remedy}"
                )
            elif not self.goes_on:
                former.clear()
            former.mark()

    def _redis_hint(self, account: str) -> str:
        """Return a command that shows a token and fits a line of 80 columns: who copies it from two gets two commands."""
        key = self.stores.keys.token(account)
        for program in ("valkey-cli", "redis-cli"):
            if shutil.which(program):
                address = REDIS_ADDRESS if self.embedded is not None else "REFRESHD_REDIS_URL"
                return f"{program} -u ${address} hgetall '{key}'"
        return f"refreshd token {account} --reveal"

    @property
    def _broken(self) -> str | None:
        """Return the first account that fails on purpose, None where so few were asked for that none does."""
        return next((one.id for one in self.accounts if one.story is not None), None)

    def _on_purpose(self) -> str:
        """Name the accounts that fail on purpose in a line of 80 columns."""
        return ", ".join(
            f"{one.id} fails ({_SHORT[one.story]})" for one in self.accounts if one.story is not None
        )

    def _wait_for_the_provider(self) -> None:
        until = time.monotonic() + PROVIDER_START_S
        while not self._provider_answers():
            if time.monotonic() > until:
                raise DemoFailed(f"the provider does not answer: {self.logs / 'provider.log'} says why")
            time.sleep(0.05)

    def _provider_answers(self) -> bool:
        with suppress(httpx.HTTPError):
            return httpx.get(f"{self.provider_url}/stats", timeout=1.0, trust_env=False).is_success
        return False


_SHORT: Final = {Story.REVOKED: "its grant is revoked", Story.WRONG_SECRET: "a wrong secret"}
_COUNTS: Final = ("added", "changed", "unchanged", "kept_newer")
