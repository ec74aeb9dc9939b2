"""Which server answers as Redis: another one, or one that was restarted, may lack what the one before had."""

from __future__ import annotations

from typing import Any

from redis.asyncio import Redis


async def identity(redis: Redis) -> tuple[str, int]:
    """Return the ids of the server's replication and of its run as one text, and how many keys it has evicted.

    A server that hides them (a managed one may) has an empty text, and no change is seen.

    Raises:
        RedisError: Redis is away.
    """
    pipeline: Any = redis.pipeline(transaction=False)
    for section in ("server", "replication", "stats"):
        pipeline.info(section)
    server, replication, stats = await pipeline.execute()
    ids = [str(part) for part in (replication.get("master_replid"), server.get("run_id")) if part]
    return "/".join(ids), int(stats.get("evicted_keys", 0))
