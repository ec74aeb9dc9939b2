"""API keys as requests need them: read from the database once in a few seconds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

from models.tables.api_key import ApiKey, Credential
from worker.errors import DatabaseUnreachable
from worker.log import log

#: A key that was revoked is good for so much longer.
FRESH_S: Final = 5.0
#: `used_at` is written once in so long.
NOTED_EVERY_S: Final = 60.0
#: Ids that are remembered, most of them of no key where somebody guesses.
KNOWN_MAX: Final = 10_000


class KeyCache:
    """Returns keys by what a client sent.

    Args:
        find: reads a key by its id.
        note_use: writes that a key is used now.
        now: the database's clock.
    """

    def __init__(
        self,
        find: Callable[[str], Awaitable[ApiKey | None]],
        note_use: Callable[[str], Awaitable[None]],
        now: Callable[[], float],
    ) -> None:
        self._find = find
        self._note_use = note_use
        self._now = now
        self._known: dict[str, tuple[float, ApiKey | None]] = {}
        self._noted: dict[str, float] = {}
        self._reading: dict[str, asyncio.Task[ApiKey | None]] = {}

    async def key_of(self, sent: Credential) -> ApiKey | None:
        """Return the valid key of a credential; None where it has none.

        Raises:
            DatabaseUnreachable: it can't be looked up.
        """
        now = time.monotonic()
        read_at, key = self._known.get(sent.id, (-FRESH_S, None))
        if now - read_at >= FRESH_S:
            key = await self._read(sent.id)
        if key is None or not key.opens_with(sent.secret) or not key.is_valid(self._now()):
            return None
        await self._note(key.id, now)
        return key

    async def _read(self, key_id: str) -> ApiKey | None:
        """Read a key once for all who ask meanwhile: of thousands of streams, each event would have every one read it."""
        reading = self._reading.get(key_id)
        if reading is None:
            reading = self._reading[key_id] = asyncio.create_task(self._remembered(key_id))
            reading.add_done_callback(lambda ended: self._ended(key_id, ended))
        return await asyncio.shield(reading)

    async def _remembered(self, key_id: str) -> ApiKey | None:
        began = time.monotonic()
        key = await self._find(key_id)
        if len(self._known) >= KNOWN_MAX:
            self._known.clear()
        self._known[key_id] = (began, key)
        return key

    def _ended(self, key_id: str, reading: asyncio.Task[ApiKey | None]) -> None:
        del self._reading[key_id]
        if not reading.cancelled():
            reading.exception()  # who asked may have gone away: nobody else would fetch it

    async def _note(self, key_id: str, now: float) -> None:
        if now - self._noted.get(key_id, -NOTED_EVERY_S) < NOTED_EVERY_S:
            return
        self._noted[key_id] = now
        try:
            await self._note_use(key_id)
        except (
            DatabaseUnreachable
        ) as error:  # a request that only reads Redis needs no database that can be written
            log.warning("key_use_not_noted", key_id=key_id, error=str(error))
