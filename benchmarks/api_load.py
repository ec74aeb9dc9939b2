"""Clients of the API: grants over connections that stay open, and a batch that is sent and answered at once."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final
from urllib.parse import urlsplit

from redis.asyncio import Redis

from benchmarks.processes import BenchmarkBroken
from refreshd_reader.contract import Keys

#: Of so many answers one is checked in Redis: a look at each would be a third of what is measured.
CHECKED_EVERY: Final = 10
#: Rows of a batch that are sent in one piece.
ROWS_A_PIECE: Final = 500


@dataclass(slots=True)
class Grants:
    """What a round of grants brought."""

    took_s: float = 0.0
    #: Seconds of each request, from its first byte to the end of its answer.
    waits_s: list[float] = field(default_factory=list)
    checked: int = 0


class Connection:
    """One connection that stays open, HTTP/1.1 by hand: an HTTP client would use more CPU than the API."""

    def __init__(self, url: str, key: str) -> None:
        place = urlsplit(url)
        self._host, self._port = str(place.hostname), int(place.port or 80)
        self._headers = f"Host: {place.netloc}\r\nAuthorization: Bearer {key}\r\n"
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter
        self.is_open = False

    async def open(self) -> None:
        self._reader, self._writer = await asyncio.open_connection(self._host, self._port)
        self.is_open = True

    async def close(self) -> None:
        self._writer.close()
        await self._writer.wait_closed()

    async def ask(self, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
        """Make a request; return its status and body."""
        head = (
            f"{method} {path} HTTP/1.1\r\n{self._headers}"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        self._writer.write(head.encode() + body)
        status, headers = await self._head()
        return status, await self._reader.readexactly(int(headers.get("content-length", "0")))

    async def batch(self, rows: Iterator[bytes]) -> Counter[str]:
        """Send rows to `/v1/accounts:batch` and count the outcomes that come back meanwhile.

        Raises:
            BenchmarkBroken: it did not answer 200.
        """
        self._writer.write(
            f"POST /v1/accounts:batch HTTP/1.1\r\n{self._headers}"
            "Content-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
        )
        sending = asyncio.create_task(self._send(rows))
        try:
            status, _ = await self._head()
            outcomes: Counter[str] = Counter()
            rest = b""
            while size := int(await self._reader.readline(), 16):
                piece = await self._reader.readexactly(size + 2)
                *lines, rest = (rest + piece[:-2]).split(b"\n")
                outcomes.update(json.loads(line)["outcome"] for line in lines)
        finally:
            sending.cancel()
        if status != 200:  # noqa: PLR2004
            raise BenchmarkBroken(f"the batch was answered {status}")
        return outcomes

    async def _send(self, rows: Iterator[bytes]) -> None:
        while piece := b"".join(islice(rows, ROWS_A_PIECE)):
            self._writer.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            await self._writer.drain()
        self._writer.write(b"0\r\n\r\n")

    async def _head(self) -> tuple[int, dict[str, str]]:
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        pairs = (line.partition(":") for line in head[1:] if line)
        return int(head[0].split()[1]), {name.lower(): value.strip() for name, _, value in pairs}


async def put_grants(
    url: str, key: str, redis_url: str, accounts: Iterable[str], *, at_once: int, round_name: str
) -> Grants:
    """Give each account a new grant, `at_once` at a time; look some of them up in Redis as the answer comes.

    Raises:
        BenchmarkBroken: a grant was refused, or its token could not be read in Redis when the answer came.
    """
    connections = [Connection(url, key) for _ in range(at_once)]
    remaining, done = iter(accounts), Grants()
    keys = Keys("refreshd:")
    async with Redis.from_url(redis_url, decode_responses=True) as redis:

        async def work(connection: Connection) -> None:
            for account in remaining:
                given = _grant(account, round_name)
                token, body = given["access_token"], json.dumps(given).encode()
                began = time.perf_counter()
                status, answer = await connection.ask("PUT", f"/v1/accounts/{account}/grant", body)
                done.waits_s.append(time.perf_counter() - began)
                if status != 200 or b'"published":true' not in answer:  # noqa: PLR2004
                    raise BenchmarkBroken(f"{account}: answered {status} {answer[:300]!r}")
                if len(done.waits_s) % CHECKED_EVERY == 0:
                    found: Any = await redis.hget(keys.token(account), "access_token")
                    if found != token:
                        raise BenchmarkBroken(f"{account}: its token is not in Redis when the answer comes")
                    done.checked += 1

        await asyncio.gather(*(one.open() for one in connections))
        began = time.perf_counter()
        await asyncio.gather(*(work(one) for one in connections))
        done.took_s = time.perf_counter() - began
        await asyncio.gather(*(one.close() for one in connections))
    return done


async def arriving_grants(
    url: str, key: str, accounts: Iterable[str], *, per_s: float, round_name: str
) -> Grants:
    """Give each account a new grant at moments of their own (Poisson), `per_s` a second, whether or not others are answered.

    Raises:
        BenchmarkBroken: a grant was refused.
    """
    idle, done, asked = list[Connection](), Grants(), list[asyncio.Task[None]]()
    # The same moments in each run; benchmarks compare runs.
    draw = random.Random(0)

    async def ask(account: str, due: float) -> None:
        connection = idle.pop() if idle else Connection(url, key)
        if not connection.is_open:
            await connection.open()
        body = json.dumps(_grant(account, round_name)).encode()
        status, answer = await connection.ask("PUT", f"/v1/accounts/{account}/grant", body)
        done.waits_s.append(time.perf_counter() - due)
        if status != 200 or b'"published":true' not in answer:  # noqa: PLR2004
            raise BenchmarkBroken(f"{account}: answered {status} {answer[:300]!r}")
        idle.append(connection)

    began = due = time.perf_counter()
    for account in accounts:
        due += draw.expovariate(per_s)
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        asked.append(asyncio.create_task(ask(account, due)))
    await asyncio.gather(*asked)
    done.took_s = time.perf_counter() - began
    await asyncio.gather(*(one.close() for one in idle))
    return done


def _grant(account: str, round_name: str) -> dict[str, Any]:
    return {
        "access_token": f"at-{round_name}-{account}",
        "refresh_token": f"rt-{round_name}-{account}",
        "expires_in": 3600,
    }


async def post_batch(url: str, key: str, rows: Iterator[bytes]) -> tuple[float, Counter[str]]:
    """Send a batch; return the seconds until its last result, and the outcomes."""
    connection = Connection(url, key)
    await connection.open()
    began = time.perf_counter()
    outcomes = await connection.batch(rows)
    took_s = time.perf_counter() - began
    await connection.close()
    return took_s, outcomes
