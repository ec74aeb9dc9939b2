"""Read HTTP/1.x responses from bytes, as leniently as curl and more so: no sockets, no clock (RFC 9112).

A refresh token is spent when the provider answers, so an answer is read wherever its meaning is clear. What is odd
about it costs the connection, never the answer: only a response that was framed cleanly leaves its connection fit for
the next request, so that no byte of one answer is taken for the next.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final

from msgspec import Struct, field

#: All headers of one response together, as in curl (`MAX_HTTP_RESP_HEADER_SIZE`).
HEAD_MAX: Final = 300 * 1024
#: As much of an unreadable answer as its error carries: tokens may stand in it all the same.
SEEN_MAX: Final = 64 * 1024
#: No length is written with more digits.
_DIGITS_MAX: Final = 18
_CHUNK_LINE_MAX: Final = 16 * 1024

_STATUS: Final = re.compile(rb"HTTP/(\d)(?:\.(\d))?[ \t]+(\d{3})(?!\d)")
#: The line that ends a head is empty; bare LF is a line's end too (RFC 9112 section 2.2).
_HEAD_END: Final = re.compile(rb"\n\r?\n")
_CHUNK_SIZE: Final = re.compile(rb"[ \t]*([0-9A-Fa-f]{1,16})[ \t]*(?:;[^\n]*)?")
_BEGINNING: Final = b"HTTP/"
_NO_BODY: Final = frozenset({204, 304})
_SWITCHING_PROTOCOLS: Final = 101
_SUCCESS: Final = 200


class BrokeHTTP(Exception):
    """Nothing can read this answer. `seen` is how it began, as it came."""

    def __init__(self, words: str, seen: bytes) -> None:
        super().__init__(words)
        self.seen = seen[:SEEN_MAX]


class CutShort(ConnectionError):
    """The connection ended before the answer did."""


class Framing(StrEnum):
    """How the end of a body is marked (RFC 9112 section 6.3)."""

    LENGTH = "length"
    CHUNKED = "chunked"
    CLOSE = "close"


class Head(Struct, frozen=True):
    """Status and headers of a response, as bytes."""

    status: int
    headers: list[tuple[bytes, bytes]]
    #: Nothing about it was odd, and the server keeps the connection.
    is_clean: bool


class ResponseParser(Struct):
    """One response, fed with bytes as they arrive.

    `head` is there once it is whole; `take()` gives what came of the body since; `complete` says that the body ended.
    """

    head: Head | None = None
    complete: bool = False
    #: The connection can carry another request once this one is complete.
    is_reusable: bool = False
    #: Bytes behind the end that the response names. A length that is too small leaves the rest of the body here.
    surplus: bytes = b""
    _framing: Framing = Framing.CLOSE
    _length: int | None = None
    _left: int = 0
    _buffer: bytearray = field(default_factory=bytearray)
    _body: bytearray = field(default_factory=bytearray)
    _chunks: int = 0
    #: So much of a head holds no end of it.
    _searched: int = 0
    _first: bytes = b""

    def feed(self, data: bytes) -> None:
        """Read on.

        Raises:
            BrokeHTTP: this is no response, or its chunks can't be followed.
        """
        if len(self._first) < SEEN_MAX:
            self._first += data[: SEEN_MAX - len(self._first)]
        if self.head is None:
            self._buffer += data
            while self._read_head():
                pass
        elif self.complete:
            self._overrun(data)
        else:
            self._read_body(data)

    def take(self) -> bytes:
        """Return what came of the body since the last call."""
        taken = bytes(self._body)
        self._body.clear()
        return taken

    def end(self) -> None:
        """Note that the connection ended.

        Raises:
            CutShort: the response was not whole.
        """
        self.is_reusable = False
        if self.head is None or (not self.complete and self._framing is not Framing.CLOSE):
            raise CutShort("the server closed the connection before the answer ended")
        self.complete = True

    def _read_head(self) -> bool:
        """Read one head out of the buffer. Returns True: it was an interim one (1xx), and another one may be there."""
        buffer = self._buffer
        if buffer[:1] in b"\r\n":
            del buffer[: len(buffer) - len(buffer.lstrip(b"\r\n"))]
        if buffer[:5] != _BEGINNING[: len(buffer)]:
            raise BrokeHTTP("it does not begin as a response", self._first)
        end = _HEAD_END.search(buffer, self._searched)
        self._searched = max(0, len(buffer) - len(b"\n\r"))
        if end is None or end.end() > HEAD_MAX:
            if len(buffer) > HEAD_MAX:
                raise BrokeHTTP("more than 300 KB of headers", self._first)
            return False
        lines = bytes(buffer[: end.start()]).split(b"\n")
        rest = bytes(buffer[end.end() :])
        buffer.clear()
        self._searched = 0
        status = _STATUS.match(lines[0])
        if status is None:
            raise BrokeHTTP("its status line can't be read", self._first)
        code = int(status[3])
        if code < _SUCCESS and code != _SWITCHING_PROTOCOLS:
            buffer += rest
            return bool(rest)
        headers, is_clean = _headers(lines)
        self.head = self._framed(code, headers, is_clean=is_clean and status[1] == b"1" and status[2] == b"1")
        self._read_body(rest)
        return False

    def _framed(self, status: int, headers: list[tuple[bytes, bytes]], *, is_clean: bool) -> Head:
        """Read how the body ends. `Transfer-Encoding` overrides `Content-Length` (RFC 9112 section 6.3)."""
        lengths: set[bytes] = set()
        coding = b""
        for name, value in headers:
            match name.lower():
                case b"content-length":
                    lengths.update(part.strip() for part in value.split(b","))
                case b"transfer-encoding":
                    coding += b"," + value.lower()
                case b"connection":
                    is_clean = is_clean and b"close" not in value.lower()
        length = lengths.pop() if len(lengths) == 1 else b""
        self._length = int(length) if length.isdigit() and len(length) <= _DIGITS_MAX else None
        if status in _NO_BODY or status == _SWITCHING_PROTOCOLS:
            self._framing, self._left = Framing.LENGTH, 0
            is_clean = is_clean and status in _NO_BODY
        elif b"chunked" in coding:
            self._framing = Framing.CHUNKED
            is_clean = is_clean and not length and not lengths
        else:
            self._frame_plainly()
        self.is_reusable = is_clean and self._framing is not Framing.CLOSE
        return Head(status, headers, self.is_reusable)

    def _frame_plainly(self) -> None:
        """Read a length. Without chunks, and where several lengths contradict each other, the body ends with the connection."""
        if self._length is None:
            self._framing = Framing.CLOSE
        else:
            self._framing, self._left = Framing.LENGTH, self._length

    def _read_body(self, data: bytes) -> None:
        match self._framing:
            case Framing.CLOSE:
                self._body += data
            case Framing.LENGTH:
                self._body += data[: self._left]
                surplus = data[self._left :]
                self._left -= min(len(data), self._left)
                self.complete = self._left == 0
                if surplus:
                    self._overrun(surplus)
            case Framing.CHUNKED:
                self._buffer += data
                while not self.complete and self._read_chunk():
                    pass

    def _read_chunk(self) -> bool:
        """Read one chunk, or what is there of it, out of the buffer. Returns False: more bytes are needed."""
        buffer = self._buffer
        if self._left:
            piece = buffer[: self._left]
            self._body += piece
            self._left -= len(piece)
            del buffer[: len(piece)]
            return bool(buffer)
        start = len(buffer) - len(buffer.lstrip(b"\r\n")) if self._chunks else 0
        line_end = buffer.find(b"\n", start)
        size = _CHUNK_SIZE.match(buffer, start)
        if size is None and len(buffer) > start:
            return self._unchunked()
        if line_end < 0:
            if len(buffer) > _CHUNK_LINE_MAX:
                raise BrokeHTTP("the size of a chunk does not end", self._first)
            return False
        if size is None or bytes(buffer[size.end() : line_end]).strip():
            return self._unchunked()
        self._left, self._chunks = int(size[1], 16), self._chunks + 1
        del buffer[: line_end + 1]
        if self._left == 0:
            self._end_chunks()
        return True

    def _unchunked(self) -> bool:
        """Read a body as it stands that was announced as chunked and has no chunks.

        Raises:
            BrokeHTTP: chunks came before.
        """
        if self._chunks:
            raise BrokeHTTP("the size of a chunk can't be read", self._first)
        self.is_reusable = False
        self._frame_plainly()
        data = bytes(self._buffer)
        self._buffer.clear()
        self._read_body(data)
        return False

    def _end_chunks(self) -> None:
        """Note that the last chunk came. Trailers, and an end that is missing, cost the connection alone."""
        self.is_reusable = self.is_reusable and self._buffer == b"\r\n"
        self._buffer.clear()
        self.complete = True

    def _overrun(self, data: bytes) -> None:
        """Keep what came behind the end. Behind the last chunk nothing can belong to the body."""
        self.is_reusable = False
        if self._framing is Framing.LENGTH:
            self.surplus += data


def _headers(lines: list[bytes]) -> tuple[list[tuple[bytes, bytes]], bool]:
    """Read header lines; returns beside them whether every one was as it should be.

    A space before the colon is left out, a folded line belongs to the one before, and a line without a colon is skipped.
    """
    headers: list[tuple[bytes, bytes]] = []
    is_clean = True
    for line in lines[1:]:
        name, colon, value = line.partition(b":")
        bare = name.strip(b" \t\r")
        if line[:1] in b" \t" and headers:
            headers[-1] = (headers[-1][0], headers[-1][1] + b" " + line.strip())
            is_clean = False
            continue
        if not colon or not bare:
            is_clean = False
            continue
        is_clean = is_clean and bare == name
        headers.append((bare, value.strip(b" \t\r")))
    return headers, is_clean
