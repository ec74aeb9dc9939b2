"""Connectors by the hundred call an API while tokens rotate at a provider that kills the old one at once."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Final

import httpx

from refreshd_reader import AsyncReader, Reader
from refreshd_reader.httpx import AsyncTokenAuth, TokenAuth
from tests.e2e.conftest import MakeWorld
from tests.support.fleet import ROOT, Fleet
from tests.support.waiting import wait_until
from tests.support.world import World

ACCOUNTS: Final = [f"acct-{number}" for number in range(1, 6)]
TASKS: Final = 200
THREADS: Final = 50
#: Between two requests of one connector, where each is answered soon.
PAUSE_S: Final = 1.0
#: A machine that is slow, or busy with other things, serves fewer: whoever waited for an answer asks again this many times
#: as long after it, and within `PAUSE_MAX_S`.
PAUSE_SHARE: Final = 10.0
PAUSE_MAX_S: Final = 6.0
#: What is promised is promised to exchanges with the API that are shorter: where some seconds pass between the first time that a
#: request is sent and the second, both tokens may have died. How long a connector waits for the next token is no excuse.
PROMISED_S: Final = 0.5
#: An event loop that comes round later than this stands still, and so does whatever its tasks read from Redis.
STALL_S: Final = 0.2
#: It is looked at so often.
BEAT_S: Final = 0.05
ROTATE_EVERY_S: Final = 5
#: Generations at the end: each account rotated three times under the connectors.
LAST_GENERATION: Final = 4
#: All connectors share two cores with the worker, beat and the API: a reader's usual 2 s are no bound here.
REDIS_TIMEOUT_S: Final = 20.0


class Connectors:
    """Tasks of one event loop, and threads: each sends one request after another through its account's auth."""

    def __init__(self, api_url: str, redis_url: str) -> None:
        self.api_url = api_url
        self.redis_url = redis_url
        #: (face, final status) -> requests, of those whose exchanges were shorter than `PROMISED_S`, on a loop that went round.
        self.statuses: Counter[tuple[str, int]] = Counter()
        #: The others: this machine had too much to do.
        self.slow: Counter[tuple[str, int]] = Counter()
        #: Answers with 401 on the wire, those that were retried included.
        self.refused = 0
        self._stalled_at = 0.0
        self._over = threading.Event()

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Let them work in the background; raises what went wrong in one of them."""
        self._over.clear()
        failed: list[BaseException] = []
        faces = [
            threading.Thread(target=self._caught, args=(face, failed))
            for face in (self._threads, lambda: asyncio.run(self._tasks()))
        ]
        for face in faces:
            face.start()
        try:
            yield
        finally:
            self._over.set()
            for face in faces:
                face.join()
        if failed:
            raise failed[0]

    def _caught(self, work: Callable[[], None], failed: list[BaseException]) -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001  (raised in the test's own thread)
            failed.append(error)

    def _sent(self, request: httpx.Request) -> None:
        request.extensions["sent_at"] = time.monotonic()

    def _answered(self, response: httpx.Response) -> None:
        self.refused += response.status_code == 401
        response.extensions["took_s"] = time.monotonic() - response.request.extensions["sent_at"]

    async def _sent_on_asyncio(self, request: httpx.Request) -> None:
        self._sent(request)

    async def _answered_on_asyncio(self, response: httpx.Response) -> None:
        self._answered(response)

    def _count(self, face: str, response: httpx.Response, *, began: float) -> None:
        longest_s = max(one.extensions["took_s"] for one in (*response.history, response))
        stalled = face == "task" and self._stalled_at > began
        counted = self.slow if stalled or longest_s >= PROMISED_S else self.statuses
        counted[face, response.status_code] += 1

    async def _watch_the_loop(self) -> None:
        while not self._over.is_set():
            looked = time.monotonic()
            await asyncio.sleep(BEAT_S)
            if time.monotonic() - looked > BEAT_S + STALL_S:
                self._stalled_at = time.monotonic()

    def _threads(self) -> None:
        failed: list[BaseException] = []

        def work(client: httpx.Client) -> None:
            pause_s = PAUSE_S
            while not self._over.wait(pause_s):
                began = time.monotonic()
                self._count("thread", client.get(self.api_url), began=began)
                pause_s = pause_after(time.monotonic() - began)

        with ExitStack() as stack:
            reader = stack.enter_context(
                Reader.from_url(self.redis_url, cache_size=100, timeout_s=REDIS_TIMEOUT_S)
            )
            clients = [
                stack.enter_context(
                    httpx.Client(
                        auth=TokenAuth(reader, account),
                        event_hooks={"request": [self._sent], "response": [self._answered]},
                        timeout=30,
                        trust_env=False,
                    )
                )
                for account in ACCOUNTS
            ]
            threads = [
                threading.Thread(target=self._caught, args=(partial(work, clients[n % len(clients)]), failed))
                for n in range(THREADS)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        if failed:
            raise failed[0]

    async def _tasks(self) -> None:
        async def work(client: httpx.AsyncClient, number: int) -> None:
            await asyncio.sleep(PAUSE_MAX_S * number / TASKS)  # not all at once
            while not self._over.is_set():
                began = time.monotonic()
                self._count("task", await client.get(self.api_url), began=began)
                await asyncio.sleep(pause_after(time.monotonic() - began))

        async with AsyncExitStack() as stack:
            reader = await stack.enter_async_context(
                AsyncReader.from_url(self.redis_url, cache_size=100, timeout_s=REDIS_TIMEOUT_S)
            )
            clients = [
                await stack.enter_async_context(
                    httpx.AsyncClient(
                        auth=AsyncTokenAuth(reader, account),
                        event_hooks={
                            "request": [self._sent_on_asyncio],
                            "response": [self._answered_on_asyncio],
                        },
                        timeout=30,
                        trust_env=False,
                    )
                )
                for account in ACCOUNTS
            ]
            watch = asyncio.create_task(self._watch_the_loop())
            await asyncio.gather(*(work(clients[n % len(clients)], n) for n in range(TASKS)))
            await watch


def pause_after(took_s: float) -> float:
    return min(max(PAUSE_S, PAUSE_SHARE * took_s), PAUSE_MAX_S)


@contextmanager
def demo_provider() -> Iterator[str]:
    """Run the provider of the demo, which has an API; returns its URL."""
    process = subprocess.Popen(
        [sys.executable, "-m", "worker.local.demo.provider", "--latency-s", "0.2"],
        cwd=ROOT, env=dict(os.environ), stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())["url"]
    finally:
        process.terminate()
        process.communicate(timeout=30)


def import_rotating(world: World, provider_url: str, folder: Path) -> None:
    """Import accounts whose tokens are replaced every few seconds, and end the moment they are."""
    grants = [{"id": account, "old_access_token": "dies", "scope": "read"} for account in ACCOUNTS]
    answer = httpx.post(f"{provider_url}/admin/grants", json={"grants": grants}, trust_env=False)
    rows = answer.raise_for_status().json()["grants"]
    policy = {
        "provider": "generic",
        "session_management": "fixed",
        "session_timeout_s": ROTATE_EVERY_S,
    }
    file = folder / "accounts.jsonl"
    file.write_text("".join(json.dumps({**row, **policy}) + "\n" for row in rows))
    subprocess.run(
        [sys.executable, "-m", "worker.cli", "accounts", "import", str(file)],
        cwd=ROOT, env={**os.environ, **world.environment}, check=True, capture_output=True,
    )  # fmt: skip


def test_no_request_finally_fails_and_no_generation_is_refreshed_twice(
    make_world: MakeWorld, sqlite_url: str, redis_url: str, tmp_path: Path
) -> None:
    world = make_world(sqlite_url, redis_url, requests_per_s="1000")
    with demo_provider() as provider_url, Fleet(world.environment, tmp_path) as fleet:
        fleet.worker()
        fleet.beat()
        fleet.wait_ready()
        import_rotating(world, provider_url, tmp_path)
        connectors = Connectors(f"{provider_url}/api/me", redis_url)

        with connectors.at_work():
            wait_until(
                lambda: world.all_refreshed(ACCOUNTS, beyond=LAST_GENERATION - 1), "every account rotated"
            )
        fleet.members["beat"].kill()
        wait_until(lambda: not any(a.claim_attempt for a in world.accounts().values()), "all calls over")
        stats = httpx.get(f"{provider_url}/stats", trust_env=False).json()
        grants = httpx.get(f"{provider_url}/stats/grants", trust_env=False).json()

    faces = {face for face, _ in connectors.statuses}
    assert faces == {"thread", "task"}
    assert {status for _, status in connectors.statuses} == {200}, (connectors.statuses, connectors.slow)
    assert connectors.refused > 0, "no request met a rotation: this run proved nothing"
    assert (stats["reuses"], stats["max_in_flight"], stats["refused"]) == (0, 1, 0)
    for account, generation in world.generations(ACCOUNTS).items():
        assert grants[account]["refreshes"] == generation - 1, "one call a generation, whoever reported it"
