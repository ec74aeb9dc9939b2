"""The httpx auth: a refused token is reported and replaced once, and the API's answer is otherwise untouched."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest

from refreshd_reader import AccountState, AsyncReader, Reader, Reauthorize
from refreshd_reader.httpx import AsyncTokenAuth, TokenAuth
from tests.integration.reader.publisher import Face, Kind, Publisher, until

API = "https://api.example.com"


class Api(httpx.BaseTransport, httpx.AsyncBaseTransport):
    """A scripted API in place of the network: it takes the tokens of `good` and answers `refusal` to all others.

    It reads a body once, as a connection does; `httpx.MockTransport` would keep it in memory for the client.
    """

    def __init__(self, good: set[str], refusal: int = 401) -> None:
        self.good = good
        self.refusal = refusal
        self.requests: list[tuple[str | None, bytes]] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        assert isinstance(request.stream, httpx.SyncByteStream)
        return self._answer(request, b"".join(request.stream))

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        assert isinstance(request.stream, httpx.AsyncByteStream)
        return self._answer(request, b"".join([chunk async for chunk in request.stream]))

    def _answer(self, request: httpx.Request, body: bytes) -> httpx.Response:
        authorization = request.headers.get("Authorization")
        self.requests.append((authorization, body))
        if request.url.path == "/away":
            return httpx.Response(302, headers={"Location": "https://files.example.net/"})
        if (authorization or "").removeprefix("Bearer ") in self.good:
            return httpx.Response(200, text="thing")
        return httpx.Response(
            self.refusal, text="no", headers={"WWW-Authenticate": "Bearer error=invalid_token"}
        )


class Caller:
    """An httpx client of either kind with the auth on it."""

    def __init__(self, face: Face, api: Api, **options: Any) -> None:
        self._reader, self._api, self._options = face.reader, api, options

    async def request(self, method: str = "GET", url: str = API, **kwargs: Any) -> httpx.Response:
        if isinstance(self._reader, AsyncReader):
            async_auth = AsyncTokenAuth(self._reader, "acct-1", **self._options)
            async with httpx.AsyncClient(
                auth=async_auth, transport=self._api, follow_redirects=True
            ) as client:
                return await client.request(method, url, **kwargs)
        auth = TokenAuth(self._reader, "acct-1", **self._options)
        with httpx.Client(auth=auth, transport=self._api, follow_redirects=True) as sync_client:
            return await asyncio.to_thread(sync_client.request, method, url, **kwargs)


def _tokens(api: Api) -> list[str | None]:
    return [authorization for authorization, _ in api.requests]


async def test_the_token_is_attached(face: Face, publisher: Publisher) -> None:
    publisher.publish("acct-1", 1)
    api = Api({"access-acct-1-1"})
    assert (await Caller(face, api).request()).text == "thing"
    assert _tokens(api) == ["Bearer access-acct-1-1"]
    assert publisher.reports() == []


@pytest.mark.parametrize(
    ("token_type", "scheme", "sent"),
    [("bearer", None, "Bearer"), ("MAC", None, "MAC"), ("Bearer", "Zoho-oauthtoken", "Zoho-oauthtoken")],
)
async def test_the_scheme(
    face: Face, publisher: Publisher, token_type: str, scheme: str | None, sent: str
) -> None:
    publisher.publish("acct-1", 1)
    publisher.client.hset(publisher.keys.token("acct-1"), "token_type", token_type)
    api = Api(set())
    await Caller(face, api, scheme=scheme, rejected_statuses=()).request()
    assert _tokens(api) == [f"{sent} access-acct-1-1"]


async def test_a_refused_token_is_reported_awaited_and_the_request_sent_once_more(
    face: Face, publisher: Publisher
) -> None:
    publisher.publish("acct-1", 1)
    api = Api({"access-acct-1-2"})
    request = asyncio.create_task(Caller(face, api).request("POST", json={"a": 1}))
    await until(lambda: len(publisher.reports()) == 1)
    publisher.publish("acct-1", 2)
    response = await request
    assert (response.status_code, len(response.history)) == (200, 1)
    assert api.requests == [("Bearer access-acct-1-1", b'{"a":1}'), ("Bearer access-acct-1-2", b'{"a":1}')]
    [report] = publisher.reports()
    assert (report.account, report.generation, report.http_status) == ("acct-1", 1, 401)


async def test_a_second_refusal_is_returned(face: Face, publisher: Publisher) -> None:
    publisher.publish("acct-1", 1)
    api = Api(set())
    request = asyncio.create_task(Caller(face, api).request())
    await until(lambda: len(publisher.reports()) == 1)
    publisher.publish("acct-1", 2)
    response = await request
    assert (response.status_code, response.text) == (401, "no")
    assert len(api.requests) == 2
    assert len(publisher.reports()) == 1


async def test_without_a_newer_token_the_response_is_returned_unchanged(
    face: Face, publisher: Publisher
) -> None:
    publisher.publish("acct-1", 1)
    api = Api(set())
    response = await Caller(face, api, wait_s=0.05).request()
    assert (response.status_code, response.text) == (401, "no")
    assert response.headers["WWW-Authenticate"] == "Bearer error=invalid_token"
    assert len(api.requests) == len(publisher.reports()) == 1


@pytest.mark.parametrize(("asked", "reports"), [((401,), 0), ((401, 403), 1)])
async def test_403_only_if_asked(
    face: Face, publisher: Publisher, asked: tuple[int, ...], reports: int
) -> None:
    publisher.publish("acct-1", 1)
    caller = Caller(face, Api(set(), refusal=403), rejected_statuses=asked, wait_s=0)
    assert (await caller.request()).status_code == 403
    assert [report.http_status for report in publisher.reports()] == [403] * reports


async def test_no_token_to_begin_with_is_the_readers_error(face: Face, publisher: Publisher) -> None:
    publisher.state("acct-1", AccountState("reauthorize", 1, "invalid_grant"))
    api = Api(set())
    with pytest.raises(Reauthorize):
        await Caller(face, api).request()
    assert api.requests == []


async def test_a_stream_that_cannot_be_sent_twice_is_not(
    face: Face, publisher: Publisher, kind: Kind
) -> None:
    """But the refusal is reported, so that the next request works."""
    publisher.publish("acct-1", 1)
    api = Api(set())
    started_at = time.monotonic()
    response = await Caller(face, api, wait_s=30).request("POST", content=_stream(kind))
    assert time.monotonic() - started_at < 30
    assert response.status_code == 401
    assert [body for _, body in api.requests] == [b"onetwo"]
    assert len(publisher.reports()) == 1


async def test_a_buffered_stream_is_sent_twice(face: Face, publisher: Publisher, kind: Kind) -> None:
    publisher.publish("acct-1", 1)
    api = Api({"access-acct-1-2"})
    caller = Caller(face, api, buffer_body=True)
    request = asyncio.create_task(caller.request("POST", content=_stream(kind)))
    await until(lambda: len(publisher.reports()) == 1)
    publisher.publish("acct-1", 2)
    assert (await request).status_code == 200
    assert [body for _, body in api.requests] == [b"onetwo"] * 2


def _stream(kind: Kind) -> Iterator[bytes] | AsyncIterator[bytes]:
    def chunks() -> Iterator[bytes]:
        yield from (b"one", b"two")

    async def async_chunks() -> AsyncIterator[bytes]:
        for chunk in chunks():
            yield chunk

    return chunks() if kind == "sync" else async_chunks()


async def test_a_refusal_by_another_host_is_not_reported(face: Face, publisher: Publisher) -> None:
    """Httpx takes the token off when it follows a redirect to another host, which then answers 401."""
    publisher.publish("acct-1", 1)
    api = Api(set())
    assert (await Caller(face, api, wait_s=30).request(url=f"{API}/away")).status_code == 401
    assert _tokens(api) == ["Bearer access-acct-1-1", None]
    assert publisher.reports() == []


async def test_a_hundred_requests_refused_at_once_all_succeed(face: Face, publisher: Publisher) -> None:
    publisher.publish("acct-1", 1)
    api = Api({"access-acct-1-2"})
    caller = Caller(face, api)
    requests = [asyncio.create_task(caller.request()) for _ in range(100)]
    await until(lambda: len(publisher.reports()) >= 1)
    publisher.publish("acct-1", 2)
    assert {response.status_code for response in await asyncio.gather(*requests)} == {200}


async def test_the_wrong_kind_of_client_is_named(face: Face) -> None:
    if isinstance(face.reader, Reader):
        async with httpx.AsyncClient(auth=TokenAuth(face.reader, "acct-1")) as client:
            with pytest.raises(TypeError, match="needs AsyncTokenAuth with an AsyncReader"):
                await client.get(API)
    else:
        with (
            httpx.Client(auth=AsyncTokenAuth(face.reader, "acct-1")) as sync_client,
            pytest.raises(TypeError, match="needs TokenAuth with a Reader"),
        ):
            sync_client.get(API)
