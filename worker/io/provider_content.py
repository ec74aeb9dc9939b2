"""The bytes of a response: decompressed, and never more than 1 MiB of them."""

from __future__ import annotations

import zlib
from typing import Final, cast

import httpx

#: No token endpoint answers with more. Holds for the bytes on the wire and for what they decompress to.
MAX_BYTES: Final = 1024 * 1024
_GZIP_OR_ZLIB: Final = 32 + zlib.MAX_WBITS


class Oversized(Exception):
    """The response is larger than MAX_BYTES."""


async def read_content(response: httpx.Response) -> bytes:
    """Read the whole body and give the connection back.

    Raises:
        Oversized: there is more than MAX_BYTES of it.
    """
    stream = cast("httpx.AsyncByteStream", response.stream)
    chunks: list[bytes] = []
    size = 0
    try:
        async for chunk in stream:
            size += len(chunk)
            if size > MAX_BYTES:
                raise Oversized
            chunks.append(chunk)
    finally:
        await stream.aclose()
    raw = chunks[0] if len(chunks) == 1 else b"".join(chunks)
    coding = response.headers.get("content-encoding")
    return raw if coding is None else decompressed(raw, coding)


def decompressed(raw: bytes, coding: str) -> bytes:
    """Undo gzip and deflate. What is cut or damaged gives what could be read; other codings stay as they are.

    Raises:
        Oversized: the bytes unfold to more than MAX_BYTES.
    """
    if coding.strip().lower() not in {"gzip", "x-gzip", "deflate"}:
        return raw
    for window_bits in (_GZIP_OR_ZLIB, -zlib.MAX_WBITS):  # some servers send deflate without zlib's header
        unzip = zlib.decompressobj(window_bits)
        try:
            content = unzip.decompress(raw, MAX_BYTES + 1)
        except zlib.error:
            continue
        if len(content) > MAX_BYTES:
            raise Oversized
        return content
    return raw
