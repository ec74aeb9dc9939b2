"""A delivery on the wire as it really is: receivers that are slow, endless, away, or point elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import httpx
import pytest

from tests.integration.notifications.conftest import SECRET
from tests.support.providers.provider_server import Respond, serving
from tests.support.server_process import free_port
from worker.clock import wall_clock
from worker.notifications.webhook_client import DeliveryResult, Endpoint, WebhookClient, read_endpoints


async def sent(url: str, *, timeout_s: float = 5) -> DeliveryResult:
    client = WebhookClient([SECRET], ca_file=None, now=wall_clock, timeout_s=timeout_s)
    try:
        return await client.send(Endpoint("one", httpx.URL(url)), "msg_1", '{"type": "test"}')
    finally:
        await client.aclose()


def saying(answer: bytes) -> Respond:
    async def respond(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await writer.drain()

    return respond


async def endless(_: bytes, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"10000\r\n" + b"x" * 65536 + b"\r\n")
        await writer.drain()


async def silent(_: bytes, __: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


CASES: list[tuple[str, Respond, Callable[[DeliveryResult], bool]]] = [
    ("204", saying(b"HTTP/1.1 204 No Content\r\n\r\n"), lambda taken: taken == DeliveryResult(204, None)),
    ("endless", endless, lambda taken: taken == DeliveryResult(200, None)),
    ("silent", silent, lambda taken: taken == DeliveryResult(None, "no answer in time")),
    (
        "redirect",
        saying(b"HTTP/1.1 307 Temporary Redirect\r\nLocation: /other\r\nContent-Length: 0\r\n\r\n"),
        lambda taken: taken.http_status == 307 and "redirects are not followed" in (taken.error or ""),
    ),
    (
        "later",
        saying(b"HTTP/1.1 503 Busy\r\nRetry-After: 120\r\nContent-Length: 0\r\n\r\n"),
        lambda taken: taken == DeliveryResult(503, "HTTP 503 Service Unavailable", 120),
    ),
    (
        "later, with a unit",
        saying(b"HTTP/1.1 429 Slow\r\nRetry-After: 120s\r\nContent-Length: 0\r\n\r\n"),
        lambda taken: taken.asked_s == 120,
    ),
    (
        "later, at a moment",
        saying(
            b"HTTP/1.1 503 Busy\r\nX-Retry-After: Fri, 15 Jan 2027 08:00:00 GMT\r\nContent-Length: 0\r\n\r\n"
        ),
        lambda taken: taken.asked_s is not None,
    ),
    (
        "garbage",
        saying(b"\x00\x01garbage\r\n\r\n"),
        lambda taken: taken.http_status is None and bool(taken.error),
    ),
]


@pytest.mark.parametrize(("name", "respond", "right"), CASES, ids=[case[0] for case in CASES])
async def test_a_delivery_ends_in_time_with_what_came_back(
    name: str,
    respond: Callable[[bytes, asyncio.StreamWriter], Awaitable[None]],
    right: Callable[[DeliveryResult], bool],
) -> None:
    async with serving(respond) as receiver:
        taken = await sent(receiver.url, timeout_s=0.5 if name == "silent" else 10)

        assert right(taken), taken
        assert len(receiver.requests) == 1


async def test_a_receiver_that_is_away_is_said_so_without_its_url() -> None:
    taken = await sent(f"http://127.0.0.1:{free_port()}/?key=url-secret")

    assert taken.http_status is None
    assert "url-secret" not in (taken.error or "")


def test_a_url_is_an_endpoint_once_and_its_name_holds_no_secret() -> None:
    one, other = read_endpoints(
        ["https://a.example/?key=s3cret", "https://a.example/?key=other", "https://a.example/?key=s3cret"], ()
    )
    assert one.name != other.name
    assert "s3cret" not in one.name
