"""Addresses of hosts: each look-up in a thread of its own, so that names that nobody answers for hold up no others.

uvloop looks names up in a pool of four threads, and gives slow ones two: two dead names held up every look-up of a process.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from contextlib import suppress
from contextvars import Context
from typing import Final

from aiohappyeyeballs import AddrInfoType

#: Short beside the lifetime of any record; long enough for a burst of connections to ask once.
DNS_KEPT_S: Final = 10.0
#: RFC 8767 section 5: addresses of before serve where new ones take longer than this, or can't be had.
STALE_AFTER_S: Final = 1.8
#: ... and for so long at most, seconds.
STALE_KEPT_S: Final = 3600.0
#: Look-ups at once; glibc gives a dead name up after 10 to 30 s.
LOOK_UPS_MAX: Final = 256

_Addresses = list[AddrInfoType]
_Name = tuple[str, int]


class Resolver:
    """Resolves names, once for all who ask at the same time, and remembers the answer for a moment."""

    def __init__(self) -> None:
        self._known: dict[_Name, tuple[asyncio.Task[_Addresses], float]] = {}
        self._good: dict[_Name, tuple[_Addresses, float]] = {}
        self._room = asyncio.Semaphore(LOOK_UPS_MAX)

    async def resolve(self, host: str, port: int) -> list[AddrInfoType]:
        """Return the addresses of a host.

        Raises:
            OSError: it has none.
        """
        with suppress(socket.gaierror):
            return _addresses(host, port, socket.AI_NUMERICHOST)
        loop, name = asyncio.get_running_loop(), (host, port)
        self._forget(loop.time())
        known = self._known.get(name)
        if known is None:
            task = loop.create_task(self._look_up(name), context=Context())  # of no call alone
            task.add_done_callback(_noted)
            known = self._known[name] = (task, loop.time() + DNS_KEPT_S)
        before = self._good.get(name)
        if before is None:
            return await asyncio.shield(known[0])
        await asyncio.wait([known[0]], timeout=STALE_AFTER_S)
        if not known[0].done() or _is_passing(known[0]):
            return before[0]
        return known[0].result()

    def _forget(self, now: float) -> None:
        for name, (task, until) in list(self._known.items()):
            failed = task.done() and (task.cancelled() or task.exception() is not None)
            if failed or (until <= now and task.done()):
                del self._known[name]
        for name, (_, until) in list(self._good.items()):
            if until <= now:
                del self._good[name]

    async def _look_up(self, name: _Name) -> _Addresses:
        loop = asyncio.get_running_loop()
        found: asyncio.Future[_Addresses] = loop.create_future()
        async with self._room:
            threading.Thread(target=_work, args=(name, loop, found), name="refreshd-dns", daemon=True).start()
            addresses = await found
        self._good[name] = (addresses, loop.time() + STALE_KEPT_S)
        return addresses


def _work(name: _Name, loop: asyncio.AbstractEventLoop, found: asyncio.Future[_Addresses]) -> None:
    addresses: _Addresses = []
    error: Exception | None = None
    try:
        addresses = _addresses(*name, socket.AI_ADDRCONFIG)
    except Exception as raised:  # noqa: BLE001  (the caller's)
        error = raised

    def settle() -> None:
        if found.done():
            return
        if error is None:
            found.set_result(addresses)
        else:
            found.set_exception(error)

    with suppress(RuntimeError):  # the loop was closed meanwhile
        loop.call_soon_threadsafe(settle)


def _addresses(host: str, port: int, flags: int) -> _Addresses:
    return list(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags))


def _is_passing(task: asyncio.Task[_Addresses]) -> bool:
    """Return whether a look-up failed without an answer: a name that is known to have no address has none any more."""
    error = None if task.cancelled() else task.exception()
    return isinstance(error, socket.gaierror) and error.errno != socket.EAI_NONAME


def _noted(task: asyncio.Task[_Addresses]) -> None:
    """Note a failed look-up that no caller waits for any more."""
    if not task.cancelled():
        task.exception()
