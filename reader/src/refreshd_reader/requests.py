"""An auth for requests that attaches an account's token, and replaces it once when an API refuses it.

    session = requests.Session()
    session.auth = TokenAuth(reader, "acct-1")

On a refusal (401 by default) it reports the token's generation, waits for a newer one for a bounded time, and
sends the request once more. If no newer token comes, or the body can't be sent twice, the API's response is returned
unchanged. A body can be sent twice if it is in memory, or a seekable file; a generator can't.
If there is no token to begin with, a request raises the `ReaderError` that says why.
"""

from __future__ import annotations

import io
from collections.abc import Collection
from functools import partial
from typing import TYPE_CHECKING, Any

import requests
from requests.auth import AuthBase

from refreshd_reader._sync.reader import Reader
from refreshd_reader.authorization import REJECTED_BY_DEFAULT, WAIT_S, Policy
from refreshd_reader.contract import Token

if TYPE_CHECKING:
    from refreshd_reader.dpop import ProofKey

__all__ = ["TokenAuth"]


class TokenAuth(AuthBase):
    """For `requests`, one request or a session.

    Args:
        reader: the source of tokens.
        account: the account's id.
        rejected_statuses: statuses that refuse a token. Add 403 for an API that answers 403 to an expired token.
        wait_s: how long a refused request may wait for a newer token.
        min_lifetime_s: how long a token must still last when a request starts.
        scheme: for an API that expects another scheme than the token's type, such as `Zoho-oauthtoken`.
        dpop_key: the key that the account's tokens are bound to (`token_type` `DPoP`).
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
        dpop_key: ProofKey | None = None,
    ) -> None:
        self._reader = reader
        self._account = account
        self._policy = Policy(scheme, frozenset(rejected_statuses), wait_s, min_lifetime_s, dpop_key)

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Attach the token and register a hook that checks the response."""
        token = self._reader.get(self._account, self._policy.min_lifetime_s)
        self._attach(request, token)
        hook = partial(self._answered, token, _position(request.body))
        request.register_hook("response", hook)  # type: ignore[no-untyped-call]
        return request

    def _answered(
        self, token: Token, body_from: int | None, response: requests.Response, /, **how: Any
    ) -> requests.Response:
        if self._wants_nonce(response) and body_from is not None:
            response = self._once_more(token, body_from, response, how)
            self._wants_nonce(response)
        status = response.status_code
        if not self._policy.refused(status, response.headers, response.request.headers, token):
            return response
        wait_s = self._policy.wait_s if body_from is not None else 0.0
        newer = self._reader.replacement(self._account, token.generation, status, wait_s)
        if newer is None or body_from is None:
            return response
        again = self._once_more(newer, body_from, response, how)
        self._wants_nonce(again)
        return again

    def _once_more(
        self, token: Token, body_from: int, response: requests.Response, how: dict[str, Any]
    ) -> requests.Response:
        # As requests' own HTTPDigestAuth does it. Reading the body gives the connection back to its pool.
        _ = response.content
        response.close()
        request = response.request.copy()
        body: Any = request.body
        if isinstance(body, io.IOBase):
            body.seek(body_from)
        self._attach(request, token)
        again: requests.Response = response.connection.send(request, **how)
        again.history.append(response)
        return again

    def _attach(self, request: requests.PreparedRequest, token: Token) -> None:
        method, url = request.method or "GET", request.url or ""
        self._policy.attach(request.headers, token, method=method, url=url)

    def _wants_nonce(self, response: requests.Response) -> bool:
        return self._policy.wants_nonce(
            response.status_code, response.headers, url=response.request.url or ""
        )


def _position(body: object) -> int | None:
    """Return the position from which a body can be sent again, None if it can't."""
    if body is None or isinstance(body, bytes | str):
        return 0
    if isinstance(body, io.IOBase) and body.seekable():
        return body.tell()
    return None
