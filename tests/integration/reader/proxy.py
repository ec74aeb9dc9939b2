"""A TCP proxy on loopback that can fall silent without closing anything, as a firewall does, or lose a reply."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final, Self

#: A reply that says nothing is shorter.
_TELLING_BYTES: Final = 20


class Proxy:
    """Passes bytes on to a local port; `freeze` makes all that is connected now silent for ever.

    While `loses_reply` is set, the next reply that says something is lost, and the connection with it.
    """

    loses_reply = False

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._tasks: set[asyncio.Task[None]] = set()
        self._pairs: list[asyncio.StreamWriter] = []
        self._server: asyncio.Server | None = None
        self.port = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in self._pairs:
            writer.close()
        for writer in self._pairs:
            with suppress(OSError):
                await writer.wait_closed()

    def freeze(self) -> None:
        """Silence every connection that is open now; later ones work."""
        for task in self._tasks:
            task.cancel()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
        self._pairs += [writer, there_writer]
        for source, sink in ((reader, there_writer), (there_reader, writer)):
            task = asyncio.create_task(self._pass_on(source, sink, replies=source is there_reader))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pass_on(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, replies: bool
    ) -> None:
        with suppress(OSError):
            while data := await source.read(65536):
                if replies and self.loses_reply and len(data) > _TELLING_BYTES:
                    self.loses_reply = False
                    break
                sink.write(data)
                await sink.drain()
            sink.close()
