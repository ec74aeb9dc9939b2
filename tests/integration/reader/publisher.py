"""Somebody who publishes as the workers do, and both faces of the reader behind one convention."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import redis

from refreshd_reader import (
    AccountState,
    Announcement,
    AsyncReader,
    Keys,
    NoUsableToken,
    Reader,
    Rejection,
    Token,
)

Kind: TypeAlias = Literal["sync", "async"]


class Publisher:
    """Writes what the workers write (docs/redis.md). Its client decodes responses."""

    def __init__(self, client: redis.Redis, prefix: str) -> None:
        self.client = client
        self.keys = Keys(prefix)

    def publish(
        self,
        account: str,
        generation: int,
        *,
        lifetime_s: float | None = 600,
        announce: bool = True,
        status: str = "active",
        token_type: str = "Bearer",  # noqa: S107  (a kind of token)
    ) -> Token:
        """Publish a token that ends in `lifetime_s`, with its account's state, and announce it."""
        now = time.time()
        token = Token(
            access_token=f"access-{account}-{generation}",
            generation=generation,
            token_type=token_type,
            issued_at=now,
            expires_at=None if lifetime_s is None else now + lifetime_s,
        )
        key = self.keys.token(account)
        with self.client.pipeline() as pipe:
            pipe.delete(key)
            pipe.hset(key, mapping=_mapping(token.to_hash()))
            if token.expires_at is not None:
                pipe.pexpireat(key, int(token.expires_at * 1000))
            pipe.hset(
                self.keys.account(account), mapping=_mapping(AccountState(status, generation).to_hash())
            )
            if announce:
                pipe.publish(self.keys.announce, Announcement(account, generation).to_text())
            pipe.execute()
        return token

    def state(self, account: str, state: AccountState) -> None:
        """Publish an account's state alone."""
        self.client.hset(self.keys.account(account), mapping=_mapping(state.to_hash()))

    def reports(self) -> list[Rejection]:
        """Return what connectors reported."""
        entries: Any = self.client.xrange(self.keys.rejected)
        return [Rejection.from_entry(fields) for _, fields in entries]

    def subscribers(self) -> int:
        """Count the subscriptions to this prefix' announcements."""
        numbers: Any = self.client.pubsub_numsub(self.keys.announce)
        return int(numbers[0][1])


def _mapping(payload: dict[str, str]) -> dict[Any, Any]:
    """Return a payload the invariant type that redis-py's `hset` asks for."""
    return dict(payload)


class Face:
    """One of the two readers. Every rule is tested on both through this one convention."""

    def __init__(self, reader: Reader | AsyncReader) -> None:
        self.reader = reader

    async def get(self, account: str, min_lifetime_s: float = 0.0) -> Token:
        token: Token = await self._call("get", account, min_lifetime_s)
        return token

    async def get_many(self, *accounts: str, min_lifetime_s: float = 0.0) -> dict[str, Token | NoUsableToken]:
        found: dict[str, Token | NoUsableToken] = await self._call("get_many", accounts, min_lifetime_s)
        return found

    async def wait_for(self, account: str, *, newer_than: int, timeout_s: float = 10.0) -> Token:
        token: Token = await self._call("wait_for", account, newer_than=newer_than, timeout_s=timeout_s)
        return token

    async def report_rejected(self, account: str, generation: int, http_status: int) -> None:
        await self._call("report_rejected", account, generation, http_status)

    async def replacement(
        self, account: str, generation: int, http_status: int, timeout_s: float = 10.0
    ) -> Token | None:
        token: Token | None = await self._call("replacement", account, generation, http_status, timeout_s)
        return token

    async def close(self) -> None:
        await self._call("close")

    async def _call(self, name: str, *args: Any, **named: Any) -> Any:
        method = getattr(self.reader, name)
        if isinstance(self.reader, AsyncReader):
            return await method(*args, **named)
        return await asyncio.to_thread(method, *args, **named)


#: Makes a face; `url` and `prefix` are the test's own unless given.
MakeFace: TypeAlias = Callable[..., Face]


async def until(condition: Callable[[], bool], *, deadline_s: float = 10.0) -> None:
    """Wait until a condition holds; the deadline is for a broken program, not for a slow one."""
    ends_at = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < ends_at, "the condition did not come true"
        await asyncio.sleep(0.005)
