"""Callbacks behind an HTTP endpoint: what is sent, how it is signed, and each way in which it goes wrong."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime

import httpx
import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from models.answer import Answer, Fault
from models.callback import CallbackInput
from models.refresh_request import RefreshRequest
from models.token import Secret
from tests.support.providers.provider_server import serving
from worker.callbacks.host.http_endpoint import EndpointClient
from worker.callbacks.host.run_result import Reply
from worker.callbacks.host.runner import _described
from worker.clock import wall_clock

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
URL = "https://callbacks.example/acme"
INPUTS = CallbackInput(account_id="acct", refresh_token="old-refresh ü", custom_fields={"a": "b"})
OUTPUT = {"access_token": "new-access", "expires_in": 3600}

Handler = Callable[[httpx.Request], httpx.Response]


async def call(handler: Handler, *, url: str = URL, within_s: float = 20) -> Reply:
    client = EndpointClient(
        ca_file=None, allow_http_hosts=(), now=wall_clock, transport=httpx.MockTransport(handler)
    )
    deadline = asyncio.get_running_loop().time() + within_s
    return await client.call(url, SECRET, INPUTS, deadline=deadline, on_send=lambda: None)


async def test_the_inputs_are_posted_signed_and_the_answer_is_the_output() -> None:
    seen: list[httpx.Request] = []

    def endpoint(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json=OUTPUT)

    reply = await call(endpoint)

    assert (reply.value, reply.failure) == (OUTPUT, None)
    (request,) = seen
    assert (request.method, str(request.url)) == ("POST", URL)
    assert request.headers["content-type"] == "application/json"
    assert Webhook(SECRET).verify(request.content, dict(request.headers)) == INPUTS.model_dump()


async def test_a_changed_body_and_an_old_message_do_not_verify() -> None:
    seen: list[httpx.Request] = []

    def endpoint(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json=OUTPUT)

    await call(endpoint)
    headers = dict(seen[0].headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(seen[0].content + b" ", headers)
    sent_at = datetime.fromtimestamp(1_600_000_000, UTC)
    body = seen[0].content.decode()
    replayed = {
        **headers,
        "webhook-timestamp": "1600000000",
        "webhook-signature": Webhook(SECRET).sign(headers["webhook-id"], sent_at, body),
    }
    with pytest.raises(WebhookVerificationError, match="too old"):
        Webhook(SECRET).verify(body, replayed)


async def test_an_error_response_counts_whatever_the_status() -> None:
    refused = {"errorResponse": {"error": "invalid_grant"}}
    reply = await call(lambda _: httpx.Response(400, json=refused))
    assert (reply.value, reply.failure) == (refused, None)


@pytest.mark.parametrize(
    ("response", "words"),
    [
        (
            httpx.Response(500, text="<html>oops</html>"),
            "answered 500 Internal Server Error with what is no JSON",
        ),
        (httpx.Response(502), "answered 502 Bad Gateway with what is no JSON (no content type)"),
        (httpx.Response(404, json={"detail": "x"}), "answered 404 Not Found with no errorResponse"),
        (httpx.Response(400, json=OUTPUT), "answered 400 Bad Request with no errorResponse"),
        (
            httpx.Response(302, headers={"location": "https://evil.example/x"}),
            "answered 302 Found and redirects to evil.example: redirects are not followed",
        ),
        (httpx.Response(302, headers={"location": "https://x:port"}), "redirects to what is no address"),
        (
            httpx.Response(401, json={}),
            "answered 401 Unauthorized with no errorResponse: does it know the same secret",
        ),
        (httpx.Response(200, text="new-access"), "answered 200 OK with what is no JSON (text/plain)"),
        (httpx.Response(200, text="[" * 100_000), "answered 200 OK with what is no JSON"),
        (httpx.Response(200, content=b"x" * 2_000_000), "the endpoint: more than 1 MiB"),
    ],
)
async def test_anything_else_is_a_failed_run_that_says_why(response: httpx.Response, words: str) -> None:
    failure = (await call(lambda _: response)).failure
    assert failure is not None
    assert failure.fault is Fault.CALLBACK
    assert failure.status is None
    assert words in (failure.fault_detail or "")


async def test_a_refusal_in_words_is_kept_and_nothing_else_of_it() -> None:
    body = {"detail": "the vault is sealed", "access_token": "new-access", "message": 5}
    reply = await call(lambda _: httpx.Response(502, json=body))
    assert reply.notes == ("its detail: the vault is sealed",)


@pytest.mark.parametrize(
    "url", ["http://callbacks.example/a", "ftp://callbacks.example", "https://u:p@c.example", "?"]
)
async def test_an_address_without_tls_is_refused(url: str) -> None:
    failure = (await call(lambda _: httpx.Response(200, json=OUTPUT), url=url)).failure
    assert failure is not None
    assert failure.fault is Fault.UNBUILDABLE
    assert "url of the callback" in (failure.fault_detail or "")


async def test_an_endpoint_that_hangs_is_given_up_at_the_deadline() -> None:
    async def hang(_request: bytes, _writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(1_000)

    async with serving(hang) as server:
        client = EndpointClient(ca_file=None, allow_http_hosts=("localhost",), now=wall_clock)
        deadline = asyncio.get_running_loop().time() + 0.5
        reply = await client.call(server.url, SECRET, INPUTS, deadline=deadline, on_send=lambda: None)
        await client.aclose()

    assert reply.failure is not None
    assert (reply.failure.fault, reply.failure.spent) == (Fault.TIMEOUT, True)
    body = server.requests[0].partition(b"\r\n\r\n")[2]
    assert json.loads(body)["refresh_token"] == "old-refresh ü"


async def test_an_endpoint_that_is_away_is_not_the_providers_outage() -> None:
    client = EndpointClient(ca_file=None, allow_http_hosts=("localhost",), now=wall_clock)
    deadline = asyncio.get_running_loop().time() + 20
    reply = await client.call("http://localhost:9/", SECRET, INPUTS, deadline=deadline, on_send=lambda: None)
    await client.aclose()
    assert reply.failure is not None
    assert (reply.failure.fault, reply.failure.spent) == (Fault.CALLBACK, False)


def history(reply: Reply, request: RefreshRequest) -> Answer:
    """Return what the account's history is told."""
    answer = _described(reply, request, "run")
    assert "NEW" not in f"{answer.output} {answer.fault_detail} {answer.fields}"
    return answer


async def test_a_failure_that_brings_new_tokens_keeps_them(request_of_acme: RefreshRequest) -> None:
    body = {"message": "not saved", "access_token": "NEW-access", "refresh_token": "NEW-refresh"}
    answer = history(await call(lambda _: httpx.Response(500, json=body)), request_of_acme)

    assert answer.token is not None
    assert (answer.token.access_token, answer.token.refresh_token) == (
        Secret("NEW-access"),
        Secret("NEW-refresh"),
    )
    assert "answered 500 Internal Server Error with no errorResponse" in (answer.output or "")


@pytest.mark.parametrize(
    "beside", [{}, {"access_token": "old-access"}, {"access_token": "***"}], ids=["none", "the old", "a mask"]
)
async def test_a_failure_that_brings_a_new_refresh_token_alone_keeps_it(
    beside: dict[str, str], request_of_acme: RefreshRequest
) -> None:
    body = {**beside, "refresh_token": "NEW-refresh"}
    answer = history(await call(lambda _: httpx.Response(400, json=body)), request_of_acme)
    assert (answer.token, answer.refresh_token) == (None, Secret("NEW-refresh"))
    assert (answer.fault, answer.spent) == (Fault.CALLBACK, True)


async def test_a_failure_that_gives_back_its_inputs_changes_nothing(request_of_acme: RefreshRequest) -> None:
    def echo(_: httpx.Request) -> httpx.Response:
        inputs = {"access_token": "old-access", "refresh_token": "old-refresh"}
        return httpx.Response(500, json={"message": "oops: old-refresh", **inputs})

    answer = history(await call(echo), request_of_acme)
    assert (answer.fault, answer.token, answer.refresh_token) == (Fault.CALLBACK, None, None)
    assert "its message: oops: [redacted]" in (answer.output or "")


@pytest.mark.parametrize(
    "tokens",
    [{"refresh_token": "QUITE-NEW"}, {"data": {"refresh_token": "QUITE-NEW"}}, {"access_token": "QUITE-NEW"}],
    ids=["at the top", "deeper", "an access token"],
)
async def test_a_new_token_that_a_failure_quotes_is_masked(
    tokens: dict[str, object], request_of_acme: RefreshRequest
) -> None:
    body = {"message": "could not save QUITE-NEW", **tokens}
    answer = history(await call(lambda _: httpx.Response(500, json=body)), request_of_acme)
    assert "its message: could not save [redacted]" in (answer.output or "")


WHOLE = b'{"access_token": "NEW-access", "expires_in": 3600, "refresh_token": "NEW-refresh"}'


@pytest.mark.parametrize(
    ("answered", "whole"),
    [
        (b"Content-Length: 20\r\n\r\n" + WHOLE, True),
        (b"Content-Length: 999\r\n\r\n" + WHOLE, True),
        (b"Content-Length: 999\r\n\r\nWarning: x\n" + WHOLE, True),
        (b"Content-Length: 999\r\n\r\n" + WHOLE[:-1] + b', "scope": "a', True),
        (b"Content-Length: 999\r\n\r\n" + b'{"refresh_token": "NEW-refresh", "access_tok', False),
        (b"\r\nWarning: x\n" + WHOLE + b"\n-->", True),
    ],
    ids=["a length too small", "too large", "text in front, and cut", "cut", "cut early", "text around it"],
)
async def test_an_answer_that_is_cut_or_has_something_around_it_loses_no_token(
    answered: bytes, whole: bool, request_of_acme: RefreshRequest
) -> None:
    async def respond(_request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n" + answered)
        await writer.drain()
        writer.close()

    async with serving(respond) as server:
        client = EndpointClient(ca_file=None, allow_http_hosts=("localhost",), now=wall_clock)
        deadline = asyncio.get_running_loop().time() + 20
        reply = await client.call(server.url, SECRET, INPUTS, deadline=deadline, on_send=lambda: None)
        await client.aclose()

    answer = history(reply, request_of_acme)
    kept = answer.token.refresh_token if answer.token is not None else answer.refresh_token
    assert kept == Secret("NEW-refresh")
    assert (answer.token is not None) == whole
