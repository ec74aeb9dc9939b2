"""The proxy that can fall silent, for tests that are not asynchronous themselves."""

from __future__ import annotations

import asyncio
import threading
from types import TracebackType
from typing import Self

from tests.integration.reader.proxy import Proxy


class SilentProxy:
    """Passes bytes on to a local port, from a thread of its own, until it is told to freeze."""

    def __init__(self, target_port: int) -> None:
        self._proxy = Proxy(target_port)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)

    @property
    def port(self) -> int:
        return self._proxy.port

    def freeze(self) -> None:
        """Silence every connection that is open now, without closing it; later ones work."""
        asyncio.run_coroutine_threadsafe(self._freeze(), self._loop).result()

    async def _freeze(self) -> None:
        self._proxy.freeze()

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._proxy.__aenter__(), self._loop).result()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._proxy.__aexit__(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
