"""`httpx.Auth` that attaches an account's token; `refreshd_reader.httpx` describes it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection
from typing import TYPE_CHECKING, NoReturn

import httpx

from refreshd_reader._async.reader import AsyncReader
from refreshd_reader.authorization import REJECTED_BY_DEFAULT, WAIT_S, WRONG_CLIENT, Policy
from refreshd_reader.contract import Token

if TYPE_CHECKING:
    from refreshd_reader.dpop import ProofKey


class AsyncTokenAuth(httpx.Auth):
    """For `httpx.AsyncClient`.

    Args:
        reader: the source of tokens.
        account: the account's id.
        rejected_statuses: statuses that refuse a token. Add 403 for an API that answers 403 to an expired token.
        wait_s: how long a refused request may wait for a newer token.
        min_lifetime_s: how long a token must still last when a request starts.
        scheme: for an API that expects another scheme than the token's type, such as `Zoho-oauthtoken`.
        buffer_body: read a streamed body into memory, so that it can be sent twice.
        dpop_key: the key that the account's tokens are bound to (`token_type` `DPoP`).
    """

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

    def sync_auth_flow(self, request: httpx.Request) -> NoReturn:  # noqa: ARG002
        """Raise TypeError: this class fits the other kind of httpx client."""
        raise TypeError(WRONG_CLIENT)


def _attach(policy: Policy, request: httpx.Request, token: Token) -> None:
    policy.attach(request.headers, token, method=request.method, url=str(request.url))


def _wants_nonce(policy: Policy, response: httpx.Response) -> bool:
    return policy.wants_nonce(response.status_code, response.headers, url=str(response.request.url))


def _in_memory(request: httpx.Request) -> bool:
    return isinstance(request.stream, httpx.ByteStream)
