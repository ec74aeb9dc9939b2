"""Requests to the API: made again where that may help and does no harm; every error is an `ApiError`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, Self

import httpx

from refreshd_reader.api_errors import ApiError, ApiProblem, ApiUnreachable, problem_of
from refreshd_reader.api_wire import pause_s
from refreshd_reader.concurrency import AsyncSignal

#: Nothing was sent: the request can be made again, whatever it asks for.
_NOT_SENT: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
_CONNECT_S: Final = 5.0


class AsyncCalls:
    """Makes requests with a key.

    Args:
        url: of the API, such as `https://connect.example.com`.
        key: `rk_ID_SECRET`.
        timeout_s: for an answer.
        retries: how often a request is made again.
        client: an httpx client to use in place of one of its own.
    """

    def __init__(
        self, url: str, key: str, *, timeout_s: float, retries: int, client: httpx.AsyncClient | None
    ) -> None:
        self._url = url.rstrip("/")
        self._headers = {"authorization": f"Bearer {key}"}
        self._timeout_s = timeout_s
        self._retries = retries
        self._client = client or httpx.AsyncClient()
        self._owns_client = client is None

    async def json(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        longer_s: float = 0.0,
        repeatable: bool = True,
    ) -> Any:
        """Return the JSON of an answer.

        Args:
            method: GET and the like.
            path: from `/v1` on.
            body: sent as JSON.
            query: of the URL.
            headers: beside the key.
            longer_s: how much longer than usual the answer may take.
            repeatable: to do it twice is as good as once.

        Raises:
            ApiError: it was not done, or that is unknown.
        """
        tries = 0
        while True:
            tries += 1
            try:
                response = await self._client.request(
                    method,
                    self._url + path,
                    json=body,
                    params=query,
                    headers={**self._headers, **(headers or {})},
                    timeout=httpx.Timeout(self._timeout_s + longer_s, connect=_CONNECT_S),
                    follow_redirects=False,
                )
            except httpx.HTTPError as error:
                failed: ApiError = _unreachable(method, path, error)
                again = repeatable or isinstance(error, _NOT_SENT)
            else:
                if response.is_success:
                    return _content(method, path, response)
                problem = problem_of(response.status_code, response.headers, response.content)
                failed, again = problem, _again(problem, repeatable=repeatable)
            if not again or tries > self._retries:
                raise failed from None
            await AsyncSignal().wait_for(pause_s(tries, failed))

    @asynccontextmanager
    async def lines(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        silence_s: float,
    ) -> AsyncIterator[AsyncIterator[str]]:
        """Yield the lines of an answer as they come.

        Args:
            method: GET or POST.
            path: from `/v1` on.
            query: of the URL.
            content: of the request.
            headers: beside the key.
            silence_s: how long nothing may come.

        Raises:
            ApiError: there is no such answer, or it ended before its time.
        """
        timeout = httpx.Timeout(silence_s, connect=_CONNECT_S)
        try:
            async with self._client.stream(
                method,
                self._url + path,
                params=query,
                content=content,
                headers={**self._headers, **(headers or {})},
                timeout=timeout,
                follow_redirects=False,
            ) as response:
                if not response.is_success:
                    await response.aread()
                    raise problem_of(response.status_code, response.headers, response.content)
                yield response.aiter_lines()
        except httpx.HTTPError as error:
            raise _unreachable(method, path, error) from None

    async def pause(self, tries: int, failed: ApiError) -> None:
        """Wait before the next try.

        Raises:
            ApiError: there were tries enough, or another one would not help.
        """
        if tries > self._retries or (isinstance(failed, ApiProblem) and not failed.is_passing):
            raise failed
        await AsyncSignal().wait_for(pause_s(tries, failed))

    async def close(self) -> None:
        """Close the client, where it is its own."""
        if self._owns_client:
            await self._client.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


def _again(problem: ApiProblem, *, repeatable: bool) -> bool:
    """Return whether a request is made again: what was refused for its number alone was not begun."""
    return problem.is_passing and (repeatable or problem.status == 429)  # noqa: PLR2004


def _unreachable(method: str, path: str, error: httpx.HTTPError) -> ApiUnreachable:
    return ApiUnreachable(f"{method} {path}: {type(error).__name__}: {error}")


def _content(method: str, path: str, response: httpx.Response) -> Any:
    try:
        return response.json()
    except ValueError:
        raise ApiUnreachable(
            f"{method} {path}: the answer is not JSON; does the URL lead to the API?"
        ) from None
