"""Many connectors at once, while tokens rotate at a provider that kills the old access token at once."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable

import httpx

from refreshd_reader import AsyncReader, Reader
from refreshd_reader.httpx import AsyncTokenAuth, TokenAuth
from tests.integration.reader.publisher import Publisher
from tests.support.services import RedisServer

ROTATIONS = 3
#: Much shorter than in life: a request that is refused has this long to be sent once more.
ROTATE_EVERY_S = 1.5
#: From the provider's answer, which kills the old token, to the new one in Redis, or a little more than once as long:
#: somebody has to meet the dead one.
PUBLISHING_TAKES_S = 0.03
PAUSE_S = 0.3
TASKS = 100
THREADS = 20


class Api:
    """Takes the one token that lives."""

    def __init__(self) -> None:
        self.living = ""
        self.refused = 0

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.headers["Authorization"] == f"Bearer {self.living}":
            return httpx.Response(200)
        self.refused += 1
        return httpx.Response(401)


async def test_no_request_finally_fails(server: RedisServer, publisher: Publisher) -> None:
    api, statuses, over = Api(), Counter[int](), threading.Event()
    transport = httpx.MockTransport(api)
    api.living = publisher.publish("acct-1", 1).access_token

    async def in_a_task(reader: AsyncReader) -> None:
        async with httpx.AsyncClient(auth=AsyncTokenAuth(reader, "acct-1"), transport=transport) as client:
            while not over.is_set():
                statuses[(await client.get("https://api.example.com")).status_code] += 1
                await asyncio.sleep(PAUSE_S)

    def in_a_thread(reader: Reader) -> None:
        with httpx.Client(auth=TokenAuth(reader, "acct-1"), transport=transport) as client:
            while not over.wait(PAUSE_S):
                statuses[client.get("https://api.example.com").status_code] += 1

    prefix = publisher.keys.prefix
    async with AsyncReader.from_url(server.url, prefix=prefix, cache_size=10) as open_reader:
        with Reader.from_url(server.url, prefix=prefix, cache_size=10) as reader:
            threads = _started(THREADS, lambda: in_a_thread(reader))
            try:
                tasks = [asyncio.create_task(in_a_task(open_reader)) for _ in range(TASKS)]
                for generation in range(2, ROTATIONS + 2):
                    await asyncio.sleep(ROTATE_EVERY_S)
                    refused = api.refused
                    api.living = f"access-acct-1-{generation}"
                    while api.refused == refused:
                        await asyncio.sleep(PUBLISHING_TAKES_S)
                    publisher.publish("acct-1", generation)
                await asyncio.sleep(ROTATE_EVERY_S)
            finally:
                over.set()
                await asyncio.gather(*tasks)
                for thread in threads:
                    await asyncio.to_thread(thread.join)

    assert set(statuses) == {200}
    assert {report.generation for report in publisher.reports()} <= set(range(1, ROTATIONS + 1))


def _started(count: int, work: Callable[[], None]) -> list[threading.Thread]:
    threads = [threading.Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    return threads
