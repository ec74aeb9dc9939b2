"""An MCP client's session with the tokens that the reader gives: a tool is called for each line of standard input.

python session.py URL REDIS_URL ACCOUNT
"""

import asyncio
import sys

import httpx2
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client

from refreshd_reader import AsyncReader
from refreshd_reader.httpx import AsyncTokenAuth


class TokenAuth(AsyncTokenAuth, httpx2.Auth):
    """The reader's auth, for the HTTP client of the SDK."""


async def main(url: str, redis_url: str, account: str) -> None:
    async with (
        AsyncReader.from_url(redis_url) as reader,
        httpx2.AsyncClient(auth=TokenAuth(reader, account), timeout=60) as http,
        Client(streamable_http_client(url, http_client=http)) as client,
    ):
        while await asyncio.to_thread(sys.stdin.readline):
            answer = await client.call_tool("whoami", {})
            print(answer.content[0].text, flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
