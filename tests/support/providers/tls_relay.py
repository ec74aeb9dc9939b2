"""TLS in front of a server that has none, in a thread of its own: so any binary is tested over real TLS."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from tests.support.providers.certificates import Authority, Signed


@contextmanager
def tls_in_front_of(port: int, context: ssl.SSLContext) -> Iterator[int]:
    """Return the port on loopback where TLS is spoken for the server at `port`."""
    loop = asyncio.new_event_loop()
    tasks: set[asyncio.Task[None]] = set()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        writers = [writer]
        try:
            there_reader, there_writer = await asyncio.open_connection("127.0.0.1", port)
            writers.append(there_writer)
            await asyncio.gather(_pipe(reader, there_writer), _pipe(there_reader, writer))
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            # A polite end of TLS would wait for the other side, which may be a test that is over.
            for one in writers:
                one.transport.abort()
            tasks.discard(task)

    async def start() -> asyncio.Server:
        return await asyncio.start_server(relay, "127.0.0.1", 0, ssl=context)

    async def stop(server: asyncio.Server) -> None:
        server.close()
        left = list(tasks)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        await asyncio.sleep(0)  # what was aborted lets go of its socket in the loop's next round

    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    server = asyncio.run_coroutine_threadsafe(start(), loop).result()
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        asyncio.run_coroutine_threadsafe(stop(server), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@contextmanager
def tls_redis(
    redis_url: str, authority: Authority, folder: Path, signed: Signed, *, asks_client: bool = False
) -> Iterator[str]:
    """Return the URL by which a Redis is reached over TLS, and over nothing else that a test knows."""
    plain = urlsplit(redis_url)
    context = authority.server_context(folder, signed, asks_client=asks_client)
    assert plain.port is not None
    with tls_in_front_of(plain.port, context) as port:
        yield f"rediss://:{plain.password}@localhost:{port}{plain.path}"


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while piece := await reader.read(65536):
            writer.write(piece)
            await writer.drain()
    except (OSError, ssl.SSLError):
        pass
    finally:
        writer.close()
