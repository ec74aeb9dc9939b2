"""`httpx.Auth` that attaches an account's token, and replaces it once when an API refuses it.

    client = httpx.Client(auth=TokenAuth(reader, "acct-1"))
    client = httpx.AsyncClient(auth=AsyncTokenAuth(async_reader, "acct-1"))

On a refusal (401 by default) it reports the token's generation, waits for a newer one for a bounded time, and
sends the request once more. If no newer token comes, or the body can't be sent twice, the API's response is handed
back untouched. A body can be sent twice if it is in memory: bytes, text, JSON, a form. For a stream or a file pass
`buffer_body=True`, which reads it into memory first. If there is no token to begin with, a request raises the
`ReaderError` that says why.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Generator
from typing import TYPE_CHECKING

import httpx

from refreshd_reader.async_reader import AsyncReader
from refreshd_reader.authorization import REJECTED_BY_DEFAULT, WAIT_S, Policy
from refreshd_reader.contract import Token
from refreshd_reader.reader import Reader

if TYPE_CHECKING:
    from refreshd_reader.dpop import ProofKey

__all__ = ["AsyncTokenAuth", "TokenAuth"]


class TokenAuth(httpx.Auth):
    """For `httpx.Client`.

    Args:
        reader: where tokens are read.
        account: whose token.
        rejected_statuses: statuses that refuse a token. Add 403 for an API that answers it to an ended token.
        wait_s: how long a refused request may wait for a newer token.
        min_lifetime_s: how long a token must still last when a request starts.
        scheme: for an API that wants another word than the token's type, such as `Zoho-oauthtoken`.
        buffer_body: read a streamed body into memory, so that it can be sent twice.
        dpop_key: what the account's tokens are bound to, where they are (`token_type` `DPoP`).
    """

    def __init__(
        self,
        reader: Reader,
        account: str,
        *,
        rejected_statuses: Collection[int] = REJECTED_BY_DEFAULT,
        wait_s: float = WAIT_S,
        min_lifetime_s: float = 0.0,
        scheme: str | None = None,
        buffer_body: bool = False,
        dpop_key: ProofKey | None = None,
    ) -> None:
        self._reader = reader
        self._account = account
        self._policy = Policy(scheme, frozenset(rejected_statuses), wait_s, min_lifetime_s, dpop_key)
        self._buffer_body = buffer_body

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Send the request, and once more with a newer token if the first was refused."""
        if self._buffer_body:
            request.read()
        token = self._reader.get(self._account, self._policy.min_lifetime_s)
        _attach(self._policy, request, token)
        response = yield request
        if _wants_nonce(self._policy, response) and _in_memory(request):
            _attach(self._policy, request, token)
            response = yield request
            _wants_nonce(self._policy, response)
        status = response.status_code
        if not self._policy.refused(status, response.headers, response.request.headers, token):
            return
        wait_s = self._policy.wait_s if _in_memory(request) else 0.0
        newer = self._reader.replacement(self._account, token.generation, status, wait_s)
        if newer is not None and _in_memory(request):
            _attach(self._policy, request, newer)
            _wants_nonce(self._policy, (yield request))

    def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:  # noqa: ARG002
        """Refuse: a blocking read would stop the event loop."""
        raise TypeError("httpx.AsyncClient needs AsyncTokenAuth with an AsyncReader")


class AsyncTokenAuth(httpx.Auth):
    """For `httpx.AsyncClient`; the arguments are `TokenAuth`'s."""

    def __init__(
        self,
        reader: AsyncReader,
        account: str,
        *,
        rejected_statuses: Collection[int] = REJECTED_BY_DEFAULT,
        wait_s: float = WAIT_S,
        min_lifetime_s: float = 0.0,
        scheme: str | None = None,
        buffer_body: bool = False,
        dpop_key: ProofKey | None = None,
    ) -> None:
        self._reader = reader
        self._account = account
        self._policy = Policy(scheme, frozenset(rejected_statuses), wait_s, min_lifetime_s, dpop_key)
        self._buffer_body = buffer_body

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """Send the request, and once more with a newer token if the first was refused."""
        if self._buffer_body:
            await request.aread()
        token = await self._reader.get(self._account, self._policy.min_lifetime_s)
        _attach(self._policy, request, token)
        response = yield request
        if _wants_nonce(self._policy, response) and _in_memory(request):
            _attach(self._policy, request, token)
            response = yield request
            _wants_nonce(self._policy, response)
        status = response.status_code
        if not self._policy.refused(status, response.headers, response.request.headers, token):
            return
        wait_s = self._policy.wait_s if _in_memory(request) else 0.0
        newer = await self._reader.replacement(self._account, token.generation, status, wait_s)
        if newer is not None and _in_memory(request):
            _attach(self._policy, request, newer)
            _wants_nonce(self._policy, (yield request))

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:  # noqa: ARG002
        """Refuse: there is no event loop to read in."""
        raise TypeError("httpx.Client needs TokenAuth with a Reader")


def _attach(policy: Policy, request: httpx.Request, token: Token) -> None:
    policy.attach(request.headers, token, method=request.method, url=str(request.url))


def _wants_nonce(policy: Policy, response: httpx.Response) -> bool:
    return policy.wants_nonce(response.status_code, response.headers, url=str(response.request.url))


def _in_memory(request: httpx.Request) -> bool:
    return isinstance(request.stream, httpx.ByteStream)
