"""The floor: the same POSTs through the same HTTP client, and nothing else. No account, no lock, no store.

    python -m benchmarks.floor http://127.0.0.1:PORT/token --refreshes 4000 --round r1

prints one JSON object: `refreshes_per_s` and `cpu_s`, of this process from the first request to the last answer.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import ssl
import time
from typing import Final

import httpx
from httpx_aiohttp import AiohttpTransport

from benchmarks.provider import refresh_token

#: As many calls at once as the refreshd worker has: 8 threads with a group of 50 each.
IN_FLIGHT: Final = 400
CLIENT_ID: Final = "bench-client"
CLIENT_SECRET: Final = "bench-secret"


async def post(client: httpx.AsyncClient, token_url: str, account: str) -> None:
    """Refresh once (RFC 6749 section 6), client credentials in the body."""
    form = {
        "grant_type": "refresh_token",
        "refresh_token": refresh_token(account),
        "client_id": CLIENT_ID,
        "client_secret": CLIENT_SECRET,
    }
    response = await client.post(token_url, data=form, headers={"Accept": "application/json"})
    response.raise_for_status()


async def post_all(client: httpx.AsyncClient, token_url: str, accounts: list[str]) -> None:
    """Refresh all accounts, never more than `IN_FLIGHT` at once."""
    waiting = iter(accounts)

    async def one_after_another() -> None:
        for account in waiting:
            await post(client, token_url, account)

    await asyncio.gather(*(one_after_another() for _ in range(IN_FLIGHT)))


async def measure(token_url: str, refreshes: int, name: str, ca_file: str | None) -> dict[str, float]:
    """Open the connections with a round that doesn't count, then count."""
    limits = httpx.Limits(max_connections=IN_FLIGHT)
    trust = ssl.create_default_context(cafile=ca_file)
    transport = AiohttpTransport(verify=trust, limits=limits)
    async with httpx.AsyncClient(transport=transport, timeout=30) as client:
        await post_all(client, token_url, [f"floor-{name}-warm-{n}" for n in range(IN_FLIGHT)])
        began_at, cpu_s = time.monotonic(), _cpu_s()
        await post_all(client, token_url, [f"floor-{name}-{n}" for n in range(refreshes)])
        return {"refreshes_per_s": refreshes / (time.monotonic() - began_at), "cpu_s": _cpu_s() - cpu_s}


def _cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("token_url")
    parser.add_argument("--refreshes", type=int, default=4000)
    parser.add_argument("--round", default="1", help="makes the accounts of each round new to the provider")
    parser.add_argument("--ca", help="PEM file with the authority of the provider's certificate")
    options = parser.parse_args()
    print(json.dumps(asyncio.run(measure(options.token_url, options.refreshes, options.round, options.ca))))


if __name__ == "__main__":
    main()
