"""The call as it really travels: deadlines, broken connections, endless answers, cookies, kept connections."""

from __future__ import annotations

import asyncio
import gzip
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from typing import Any
from urllib.parse import parse_qs

import pytest

from models.answer import Answer, Fault
from models.providers import Provider
from models.refresh_request import RefreshRequest
from tests.support.providers.provider_double import account, provider
from tests.support.providers.provider_server import answering, response, serving
from worker.policy.gate_signals import is_down
from worker.policy.verdicts.verdict import judge
from worker.providers.client import ProviderClient
from worker.providers.response.content import MAX_BYTES

BODY = b'{"access_token": "AT-2", "refresh_token": "RT-2", "expires_in": 3600}'


@pytest.fixture
async def client() -> AsyncIterator[ProviderClient]:
    client = ProviderClient(allow_http_hosts=["localhost", "127.0.0.1"])
    yield client
    await client.aclose()


async def call(
    client: ProviderClient,
    request: RefreshRequest,
    time_s: float = 10.0,
    on_send: Callable[[], None] | None = None,
) -> Answer:
    deadline = asyncio.get_running_loop().time() + time_s
    return await client.call(request, deadline=deadline, on_send=on_send)


def at(url: str, of: Provider | None = None, **fields: object) -> RefreshRequest:
    return account(of or provider(), token_url=url, **fields)


def token(answer: Answer) -> str:
    assert answer.token is not None, answer
    return answer.token.access_token.reveal()


async def test_a_connection_is_kept_for_the_next_call(client: ProviderClient) -> None:
    async with serving(answering(response(BODY))) as server:
        answers = [await call(client, at(server.url)) for _ in range(5)]
        assert {token(answer) for answer in answers} == {"AT-2"}
        assert server.connections == 1


async def test_four_hundred_calls_are_in_flight_at_once(client: ProviderClient) -> None:
    waiting = 0
    everybody = asyncio.Event()

    async def respond(_: bytes, writer: asyncio.StreamWriter) -> None:
        nonlocal waiting
        waiting += 1
        if waiting == 400:
            everybody.set()
        await everybody.wait()
        writer.write(response(BODY))

    async with serving(respond) as server:
        answers = await asyncio.gather(*(call(client, at(server.url), 60) for _ in range(400)))
    assert [token(answer) for answer in answers] == ["AT-2"] * 400


async def test_a_cookie_of_one_account_does_not_travel_with_another(client: ProviderClient) -> None:
    async with serving(answering(response(BODY, "Set-Cookie: session=of-the-first; Path=/"))) as server:
        await call(client, at(server.url))
        await call(client, at(server.url))
        assert b"cookie" not in server.requests[1].lower()


async def test_a_compressed_answer_is_unpacked(client: ProviderClient) -> None:
    async with serving(answering(response(gzip.compress(BODY), "Content-Encoding: gzip"))) as server:
        assert token(await call(client, at(server.url))) == "AT-2"
        assert b"accept-encoding: gzip, deflate\r\n" in server.requests[0].lower()


async def test_awkward_letters_in_a_query_arrive_as_they_were(client: ProviderClient) -> None:
    awkward = "a+b/c=d&e f%20?#ü;:@~'\"<>|\\^`{}"
    async with serving(answering(response(BODY))) as server:
        await call(client, at(f"{server.url}?x=1%2B1", refresh_method="url_query", refresh_token=awkward))
        target = server.requests[0].split(b" ")[1].decode()
    sent = parse_qs(target.partition("?")[2], strict_parsing=True)
    assert sent["refresh_token"] == [awkward]
    assert sent["x"] == ["1+1"]


async def test_an_answer_that_never_comes_ends_with_the_deadline(client: ProviderClient) -> None:
    async def respond(_: bytes, __: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    async with serving(respond) as server:
        answer = await call(client, at(server.url), 0.2)
        assert (answer.fault, answer.spent) == (Fault.TIMEOUT, True)


async def test_an_answer_that_drips_for_ever_ends_with_the_deadline(client: ProviderClient) -> None:
    """Each byte comes in time; the whole does not."""

    async def respond(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            writer.write(b"1\r\n \r\n")
            await writer.drain()
            await asyncio.sleep(0.01)

    async with serving(respond) as server:
        answer = await call(client, at(server.url), 0.3)
        assert (answer.fault, answer.spent) == (Fault.TIMEOUT, True)


async def test_chunks_without_end_are_not_read_beyond_the_limit(client: ProviderClient) -> None:
    async def respond(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while not writer.is_closing():
            writer.write(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
            await writer.drain()

    async with serving(respond) as server:
        answer = await call(client, at(server.url))
        assert (answer.fault, answer.spent) == (Fault.TOO_LARGE, True)


async def test_a_gzip_bomb_is_not_unpacked_beyond_the_limit(client: ProviderClient) -> None:
    bomb = gzip.compress(b" " * (200 * MAX_BYTES), compresslevel=9)
    assert len(bomb) < MAX_BYTES
    async with serving(answering(response(bomb, "Content-Encoding: gzip"))) as server:
        answer = await call(client, at(server.url))
        assert (answer.fault, answer.spent) == (Fault.TOO_LARGE, True)


async def test_a_bomb_that_begins_with_tokens_still_gives_them(client: ProviderClient) -> None:
    bomb = gzip.compress(BODY[:-1] + b', "junk": "' + b" " * (4 * MAX_BYTES) + b'"}')
    async with serving(answering(response(bomb, "Content-Encoding: gzip"))) as server:
        assert token(await call(client, at(server.url))) == "AT-2"


@pytest.mark.parametrize("size", [MAX_BYTES, MAX_BYTES + 1])
async def test_the_limit_is_a_mebibyte(client: ProviderClient, size: int) -> None:
    async with serving(answering(response(b"x" * size))) as server:
        answer = await call(client, at(server.url))
        assert answer.fault is (None if size == MAX_BYTES else Fault.TOO_LARGE)


async def test_a_connection_that_breaks_before_the_answer_may_have_spent_the_token(
    client: ProviderClient,
) -> None:
    async def respond(_: bytes, writer: asyncio.StreamWriter) -> None:
        _reset(writer)

    async with serving(respond) as server:
        answer = await call(client, at(server.url))
        assert (answer.fault, answer.spent) == (Fault.BROKEN, True)


@pytest.mark.parametrize("method", ["POST", "GET"])
async def test_a_request_is_never_sent_twice(client: ProviderClient, method: str) -> None:
    """Most HTTP clients send a GET again by themselves when a kept connection turns out to be closed."""
    calls = 0

    async def respond(_: bytes, writer: asyncio.StreamWriter) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            writer.write(response(BODY))
        else:
            _reset(writer)

    async with serving(respond) as server:
        of = provider(method=method)
        sent: list[str] = []
        assert token(await call(client, at(server.url, of))) == "AT-2"
        answer = await call(client, at(server.url, of), on_send=lambda: sent.append("sent"))
        assert (answer.fault, answer.spent) == (Fault.BROKEN, True)
        assert len(server.requests) == 2
        assert sent == ["sent"]


@pytest.mark.parametrize("behind", [b"", b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n"])
async def test_a_kept_connection_that_ended_carries_no_request(client: ProviderClient, behind: bytes) -> None:
    """Nor one on which something came that nobody asked for."""
    connections: list[asyncio.StreamWriter] = []

    async def respond(_: bytes, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        writer.write(response(BODY))

    async with serving(respond) as server:
        assert token(await call(client, at(server.url))) == "AT-2"
        if behind:
            connections[0].write(behind)
            await connections[0].drain()
        else:
            connections[0].close()
            await connections[0].wait_closed()
        assert token(await call(client, at(server.url))) == "AT-2"
        assert (len(server.requests), server.connections) == (2, 2)


async def test_a_kept_connection_that_ends_while_others_are_asked_in_the_same_turn_carries_no_request(
    client: ProviderClient,
) -> None:
    connections: list[asyncio.StreamWriter] = []
    both = asyncio.Event()

    async def respond(_: bytes, writer: asyncio.StreamWriter) -> None:
        if writer not in connections:
            connections.append(writer)
        if len(connections) > 1:
            both.set()
        await both.wait()
        writer.write(response(BODY))

    def end_the_one_that_is_left() -> None:
        (kept,) = (one for idle in client._transport._idle.values() for one in idle)  # type: ignore[union-attr]
        address = kept._transport.get_extra_info("sockname")  # type: ignore[union-attr]
        (server_side,) = (one for one in connections if one.get_extra_info("peername") == address)
        server_side.get_extra_info("socket").shutdown(socket.SHUT_WR)

    async with serving(respond) as server:
        await asyncio.gather(call(client, at(server.url)), call(client, at(server.url)))
        answers = await asyncio.gather(
            call(client, at(server.url), on_send=end_the_one_that_is_left), call(client, at(server.url))
        )
        assert [token(answer) for answer in answers] == ["AT-2", "AT-2"]
        assert (len(server.requests), server.connections) == (4, 3)


async def test_framing_is_the_transports_whatever_a_header_says(client: ProviderClient) -> None:
    """A preset may not set them; where one came to, the transport's own are sent."""
    headers = {"content-length": "3", "transfer-encoding": "chunked"}
    of = provider().model_copy(update={"headers": headers})
    async with serving(answering(response(BODY))) as server:
        assert token(await call(client, at(server.url, of))) == "AT-2"
        head = server.requests[0].partition(b"\r\n\r\n")[0].lower()
        assert head.count(b"content-length:") == 1
        assert b"transfer-encoding" not in head


@pytest.mark.parametrize(
    ("cut", "knobs", "found"),
    [
        (BODY[:-3], {}, True),
        (BODY[:32], {}, True),
        (BODY[:32], {"replay_grace_s": 600}, False),
        (BODY[:20], {}, False),
        (b"access_token=AT-2&refresh_token=R", {}, True),
        (b"access_token=AT-2&refresh_token=R", {"replay_grace_s": 600}, False),
        (b"access_token=AT", {}, False),
    ],
)
async def test_tokens_of_an_answer_that_was_cut_are_kept_where_they_are_whole(
    client: ProviderClient, cut: bytes, knobs: dict[str, object], found: bool
) -> None:
    """The old refresh token may be spent; only where a replay is documented as safe is that better."""

    async def respond(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + cut)
        await writer.drain()
        writer.close()

    async with serving(respond) as server:
        answer = await call(client, at(server.url, provider(**knobs)))
        if found:
            assert token(answer) == "AT-2"
        else:
            assert (answer.token, answer.fault, answer.spent) == (None, Fault.BROKEN, True)


@pytest.mark.parametrize(
    ("raw", "fault"),
    [
        (b"garbage\r\n\r\n", Fault.BROKE_HTTP),
        (b"HTTP/1.1 banana OK\r\n\r\n", Fault.BROKE_HTTP),
        (b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 100_000 + b"\r\n", Fault.BROKE_HTTP),
        (b"\x00" * 64 + b"\r\n\r\n", Fault.BROKE_HTTP),
        (b"\x15\x03\x01\x00\x02\x02\x46", Fault.BROKE_HTTP),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n \r\nzz\r\n", Fault.BROKE_HTTP),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", Fault.TIMEOUT),
    ],
)
async def test_what_is_no_http_is_no_fault_of_the_host(
    client: ProviderClient, raw: bytes, fault: Fault
) -> None:
    """Other accounts of the host are asked as before; the refresh token may be spent."""
    async with serving(answering(raw)) as server:
        answer = await call(client, at(server.url), 2)
        assert (answer.fault, answer.spent) == (fault, True)
    assert is_down(answer) is (fault is Fault.TIMEOUT)
    if fault is Fault.BROKE_HTTP:
        assert judge(answer, ()).reason == "answer_broke_http"
        assert (answer.fault_detail or "").startswith("the answer broke HTTP: ")


@pytest.mark.parametrize(("knobs", "found"), [({}, "RT-2"), ({"replay_grace_s": 600}, None)])
async def test_a_refresh_token_of_an_answer_that_was_cut_before_its_access_token_is_kept(
    client: ProviderClient, knobs: dict[str, object], found: str | None
) -> None:
    async def respond(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{"refresh_token": "RT-2", "access_t')
        await writer.drain()
        writer.close()

    async with serving(respond) as server:
        answer = await call(client, at(server.url, provider(**knobs)))
    assert (answer.token, answer.refresh_token and answer.refresh_token.reveal()) == (None, found)
    assert answer.spent


async def test_the_beginning_of_what_is_no_http_shows_no_secret(client: ProviderClient) -> None:
    """Neither one that was sent nor one that may be new."""
    raw = (
        b"LOG token=abc123 RT-1-sent eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl "
        b"{'refresh_token': 'short', \"access_token\": \"cut"
    )
    async with serving(answering(raw)) as server:
        answer = await call(client, at(server.url, refresh_token="RT-1-sent"))
    assert answer.fault is Fault.BROKE_HTTP
    for secret in ("abc123", "RT-1-sent", "eyJ", "short", "cut"):
        assert secret not in f"{answer}"
    assert (answer.output or "").startswith("LOG token=[redacted] [redacted] [redacted] ")


async def test_nobody_listens(client: ProviderClient) -> None:
    async with serving(answering(b"")) as server:
        url = server.url
    answer = await call(client, at(url, refresh_method="url_query"))
    assert (answer.fault, answer.spent) == (Fault.CONNECT, False)
    assert "RT-1" not in f"{answer}"


async def test_the_name_is_not_known(client: ProviderClient) -> None:
    answer = await call(client, at("https://nobody.invalid/token", refresh_method="url_query"))
    assert (answer.fault, answer.spent) == (Fault.DNS, False)
    assert "RT-1" not in f"{answer}"


async def test_a_deadline_that_is_over_sends_nothing(client: ProviderClient) -> None:
    async with serving(answering(response(BODY))) as server:
        sent: list[str] = []
        answer = await call(client, at(server.url), -1, lambda: sent.append("sent"))
        assert (answer.fault, answer.spent) == (Fault.NOT_SENT, False)
        assert sent == []
        assert server.requests == []


async def test_the_deadline_is_looked_at_again_when_the_connection_stands(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A worker that was stopped while it connected must not send what another one may have sent since."""
    client = ProviderClient(allow_http_hosts=["localhost"])
    loop = asyncio.get_running_loop()
    stopped_for_s = 0.0

    async with serving(answering(response(BODY))) as server:
        connect = loop.create_connection

        async def slow(*args: Any, **options: Any) -> object:
            nonlocal stopped_for_s
            made = await connect(*args, **options)
            stopped_for_s = 3600.0
            return made

        now = loop.time
        monkeypatch.setattr(loop, "create_connection", slow)
        monkeypatch.setattr(loop, "time", lambda: now() + stopped_for_s)
        answer = await call(client, at(server.url))
        assert (answer.fault, answer.spent) == (Fault.NOT_SENT, False)
        assert server.requests == []
    await client.aclose()


@pytest.mark.parametrize(("connect_timeout_s", "time_s"), [(10.0, 0.3), (0.3, 60.0)])
async def test_a_connection_that_is_not_made_in_time_sent_nothing(
    connect_timeout_s: float, time_s: float
) -> None:
    """A full backlog: the provider neither takes the connection nor refuses it."""
    client = ProviderClient(allow_http_hosts=["127.0.0.1"], connect_timeout_s=connect_timeout_s)
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener, ExitStack() as crowd:
        address = listener.getsockname()
        for _ in range(8):
            one = crowd.enter_context(socket.socket())
            one.setblocking(False)
            one.connect_ex(address)
        answer = await call(client, at(f"http://127.0.0.1:{address[1]}/token"), time_s)
    assert (answer.fault, answer.spent) == (Fault.CONNECT, False)
    await client.aclose()


async def test_cancellation_goes_through(client: ProviderClient) -> None:
    begun = asyncio.Event()

    async def respond(_: bytes, __: asyncio.StreamWriter) -> None:
        begun.set()
        await asyncio.Event().wait()

    async with serving(respond) as server:
        calling = asyncio.ensure_future(call(client, at(server.url)))
        await begun.wait()
        calling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calling


def _reset(writer: asyncio.StreamWriter) -> None:
    """End the connection with a reset, not politely."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
