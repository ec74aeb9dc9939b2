"""The bytes of a response: decompressed, never more than 1 MiB of them, and kept when the rest never comes."""

from __future__ import annotations

import zlib
from typing import Final, cast

import httpx

from worker.providers.http1.transport import Body
from worker.providers.response.body import holds_whole_object
from worker.providers.wire import WireResponse

#: No token endpoint answers with more. Holds for the bytes on the wire and for what they decompress to.
MAX_BYTES: Final = 1024 * 1024
_GZIP_OR_ZLIB: Final = 32 + zlib.MAX_WBITS
_DEFLATED: Final = frozenset({"deflate"})
#: How gzip and zlib (RFC 1952, RFC 1950) begin, and no text does.
_PACKED: Final = (b"\x1f\x8b", b"x\x01", b"x\x5e", b"x\x9c", b"x\xda")
#: What was packed by the application, and by the proxy once more.
_PACKED_MAX: Final = 3
#: So often is a body that does not end looked at for whether it is whole.
_LOOKS_MAX: Final = 16


class Oversized(Exception):
    """The response is larger than MAX_BYTES."""


class Content:
    """The body of one response. What arrived stays here, whether or not the rest did."""

    def __init__(self) -> None:
        self._raw = bytearray()
        self._looks = 0
        #: Bytes behind the end that the response named.
        self.surplus = b""

    async def read(self, response: WireResponse | httpx.Response) -> bytes:
        """Read the whole body and give the connection back.

        One whose end is not named, or lies beyond what the server sends, ends with its JSON object.

        Raises:
            Oversized: there is more than MAX_BYTES of it.
        """
        stream = cast("httpx.AsyncByteStream", response.stream)
        try:
            if isinstance(stream, Body) and (whole := stream.whole()) is not None:
                self._raw += whole
                if len(whole) > MAX_BYTES:
                    raise Oversized
            else:
                await self._gather(stream)
        finally:
            await stream.aclose()
        return self._all_of(response, stream)

    async def _gather(self, stream: httpx.AsyncByteStream) -> None:
        async for chunk in stream:
            self._raw += chunk
            if len(self._raw) > MAX_BYTES:
                raise Oversized
            if not getattr(stream, "is_complete", True) and self._is_whole():
                break

    def _all_of(self, response: WireResponse | httpx.Response, stream: httpx.AsyncByteStream) -> bytes:
        self.surplus = getattr(stream, "surplus", b"")[:MAX_BYTES]
        content = self.so_far(response)
        if len(content) > MAX_BYTES:
            raise Oversized
        return content

    def so_far(self, response: WireResponse | httpx.Response) -> bytes:
        """Return what arrived, decompressed, and not much more than MAX_BYTES of it."""
        return decompressed(bytes(self._raw), response.headers.get("content-encoding", ""))

    def _is_whole(self) -> bool:
        if self._looks >= _LOOKS_MAX or self._raw[-8:].rstrip()[-1:] != b"}":
            return False
        self._looks += 1
        return holds_whole_object(bytes(self._raw))


def decompressed(raw: bytes, coding: str = "") -> bytes:
    """Return the bytes without gzip and deflate, whether a header names them or not. What is cut or damaged gives what could be read.

    Other codings stay as they are.
    """
    if coding.strip().lower() in _DEFLATED and not raw.startswith(_PACKED):
        raw = _inflated(raw, -zlib.MAX_WBITS) or raw  # some servers send deflate without zlib's header
    for _ in range(_PACKED_MAX):
        inner = _inflated(raw, _GZIP_OR_ZLIB) if raw.startswith(_PACKED) else None
        if not inner:
            break
        raw = inner
    return raw


def _inflated(raw: bytes, window_bits: int) -> bytes | None:
    try:
        return zlib.decompressobj(window_bits).decompress(raw, MAX_BYTES + 1)
    except zlib.error:
        return None
