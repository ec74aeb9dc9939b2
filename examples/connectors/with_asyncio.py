"""Call an API for many accounts at once: asyncio and httpx, tokens kept in the process between calls.

    REFRESHD_REDIS_URL=redis://refreshd-connector:PASSWORD@HOST:6379/0 python with_asyncio.py URL ACCOUNT...

Needs `pip install './reader[httpx]'` in a checkout of refreshd.
"""

import asyncio
import os
import sys

import httpx

from refreshd_reader import AsyncReader, NoUsableToken
from refreshd_reader.httpx import AsyncTokenAuth


async def main(url: str, *accounts: str) -> int:
    async with (
        AsyncReader.from_url(os.environ["REFRESHD_REDIS_URL"], cache_size=1000) as reader,
        httpx.AsyncClient() as client,
    ):
        tokens = await reader.get_many(accounts, min_lifetime_s=5)
        ready = [account for account, token in tokens.items() if not isinstance(token, NoUsableToken)]
        for account in tokens.keys() - ready:
            print(f"left out: {tokens[account]}", file=sys.stderr)
        calls = [client.get(url, auth=AsyncTokenAuth(reader, account)) for account in ready]
        responses = await asyncio.gather(*calls)
    for account, response in zip(ready, responses, strict=True):
        print(account, response.status_code, response.text)
    return 0 if len(ready) == len(accounts) and all(response.is_success for response in responses) else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main(*sys.argv[1:])))
