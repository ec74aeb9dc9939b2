"""Responses read from bytes: nothing makes it fail otherwise than by its own errors, and h11 agrees where h11 reads."""

from __future__ import annotations

from contextlib import suppress

import h11
from hypothesis import given
from hypothesis import strategies as st

from tests.support.examples import examples
from worker.providers.http1.parser import BrokeHTTP, ResponseParser

BODY = b'{"access_token":"AT","refresh_token":"RT","expires_in":300}'
pieces = st.sampled_from(
    [
        *(b"HTTP/1.1 200 OK", b"HTTP/1.0 200 OK", b"HTTP/1.1 404", b"HTTP/1.1 204 No Content", b"HTTP/1.1 100 Continue"),
        *(b"Content-Length: 59", b"Content-Length: 59, 59", b"Content-Length : 59", b"Content-Length: 7", b"Content-Length: x"),
        *(b"Transfer-Encoding: chunked", b"Connection: close", b" folded", b"no colon", b"X-A: b", b"X-A:" + b"c" * 9000),
        *(b"\r\n", b"\n", b"\r\n\r\n", b"\n\n", BODY, b"3b\r\n" + BODY + b"\r\n", b"0\r\n\r\n", b"0\r\n", b"ffffffffffffffff\r\n", b"\0"),
    ]
) | st.binary(max_size=12)  # fmt: skip
splits = st.integers(min_value=1, max_value=64)


def ours(raw: bytes, step: int = 1_000_000) -> tuple[int | None, bytes, bool]:
    parser = ResponseParser()
    body = b""
    for at in range(0, len(raw), step):
        parser.feed(raw[at : at + step])
        body += parser.take()
    parser.end()
    return None if parser.head is None else parser.head.status, body, parser.complete


def theirs(raw: bytes) -> tuple[int, bytes]:
    """Read with h11, the connection ending behind the bytes."""
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=300 * 1024)
    connection.send(h11.Request(method="POST", target="/", headers=[("host", "x"), ("content-length", "0")]))
    connection.send(h11.EndOfMessage())
    connection.receive_data(raw)
    connection.receive_data(b"")
    status, body = 0, b""
    while True:
        event = connection.next_event()
        if isinstance(event, h11.Response):
            status = event.status_code
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            return status, body
        elif event is h11.NEED_DATA or isinstance(event, h11.ConnectionClosed):
            raise h11.RemoteProtocolError("no whole response")


@examples(500)
@given(parts=st.lists(pieces, max_size=12), step=splits)
def test_no_bytes_make_it_fail_otherwise(parts: list[bytes], step: int) -> None:
    with suppress(BrokeHTTP, ConnectionError):
        ours(b"".join(parts), step)


@examples(500)
@given(
    status=st.sampled_from([b"HTTP/1.1 200 OK", b"HTTP/1.0 400 Bad", b"HTTP/1.1 200", b"HTTP/1.1 204 No Content"]),
    headers=st.lists(pieces, max_size=6),
    end=st.sampled_from([b"\r\n", b"\n"]),
    body=st.sampled_from([BODY, b"3b\r\n" + BODY + b"\r\n0\r\n\r\n", b"3b;x=y\r\n" + BODY + b"\r\n0\r\nX: y\r\n\r\n", b""]),
    step=splits,
)  # fmt: skip
def test_what_h11_reads_is_read_and_is_the_same(
    status: bytes, headers: list[bytes], end: bytes, body: bytes, step: int
) -> None:
    raw = end.join([status, *headers, b"", b""]) + body
    try:
        expected = theirs(raw)
    except h11.RemoteProtocolError:
        return
    assert ours(raw, step)[:2] == expected
