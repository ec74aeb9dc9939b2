"""Keys of the API are read once for all who need them at a time: thousands of streams ask with each event."""

from __future__ import annotations

import asyncio

from models.tables.api_key import ApiKey, Credential, hash_of
from worker.api.key_cache import KeyCache
from worker.errors import DatabaseUnreachable

SENT = Credential("0123456789ab", "secret")


class Keys:
    """The table of keys, which answers when it is let."""

    def __init__(self) -> None:
        self.asked = 0
        self.answers = asyncio.Event()
        self.error: Exception | None = None
        self.cache = KeyCache(find=self.find, note_use=self.note_use, now=lambda: 0.0)

    async def find(self, key_id: str) -> ApiKey:
        self.asked += 1
        await self.answers.wait()
        if self.error is not None:
            raise self.error
        return ApiKey(id=key_id, name="reader", secret_hash=hash_of(SENT.secret), scopes="[]", created_at=0.0)

    async def note_use(self, _: str) -> None:
        """Note nothing."""


async def test_a_key_is_read_once_for_all_who_ask_meanwhile() -> None:
    keys = Keys()
    asking = [asyncio.create_task(keys.cache.key_of(SENT)) for _ in range(50)]
    await asyncio.sleep(0)
    asking[0].cancel()  # its client went away, and the others wait for what it began
    keys.answers.set()
    found = await asyncio.gather(*asking, return_exceptions=True)
    assert isinstance(found[0], asyncio.CancelledError)
    assert [one.name for one in found[1:] if isinstance(one, ApiKey)] == ["reader"] * 49
    assert await keys.cache.key_of(Credential(SENT.id, "another")) is None
    assert keys.asked == 1


async def test_a_key_that_could_not_be_read_is_read_again() -> None:
    keys = Keys()
    keys.answers.set()
    keys.error = DatabaseUnreachable("away")
    found = await asyncio.gather(*(keys.cache.key_of(SENT) for _ in range(3)), return_exceptions=True)
    assert {type(one) for one in found} == {DatabaseUnreachable}
    keys.error = None
    assert await keys.cache.key_of(SENT) is not None
    assert keys.asked == 2
