"""The bytes of a response: decompressed, never more than 1 MiB of them, and kept when the rest never comes."""

from __future__ import annotations

import zlib
from typing import Final, cast

import httpx

#: No token endpoint answers with more. Holds for the bytes on the wire and for what they decompress to.
MAX_BYTES: Final = 1024 * 1024
_GZIP_OR_ZLIB: Final = 32 + zlib.MAX_WBITS
_UNZIPPED: Final = frozenset({"gzip", "x-gzip", "deflate"})


class Oversized(Exception):
    """The response is larger than MAX_BYTES."""


class Content:
    """The body of one response. What arrived stays here, whether or not the rest did."""

    def __init__(self) -> None:
        self._raw = bytearray()

    async def read(self, response: httpx.Response) -> bytes:
        """Read the whole body and give the connection back.

        Raises:
            Oversized: there is more than MAX_BYTES of it.
        """
        stream = cast("httpx.AsyncByteStream", response.stream)
        try:
            async for chunk in stream:
                self._raw += chunk
                if len(self._raw) > MAX_BYTES:
                    raise Oversized
        finally:
            await stream.aclose()
        content = self.so_far(response)
        if len(content) > MAX_BYTES:
            raise Oversized
        return content

    def so_far(self, response: httpx.Response) -> bytes:
        """Give what arrived, decompressed, and not much more than MAX_BYTES of it."""
        coding = response.headers.get("content-encoding")
        raw = bytes(self._raw)
        return raw if coding is None else decompressed(raw, coding)


def decompressed(raw: bytes, coding: str) -> bytes:
    """Undo gzip and deflate. What is cut or damaged gives what could be read; other codings stay as they are."""
    if coding.strip().lower() not in _UNZIPPED:
        return raw
    for window_bits in (_GZIP_OR_ZLIB, -zlib.MAX_WBITS):  # some servers send deflate without zlib's header
        try:
            return zlib.decompressobj(window_bits).decompress(raw, MAX_BYTES + 1)
        except zlib.error:
            continue
    return raw
