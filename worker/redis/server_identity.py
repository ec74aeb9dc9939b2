"""Which server answers as Redis: another one, or one that was restarted, may lack what the one before had."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from redis.asyncio import Redis

from refreshd_reader.redis.cluster import AsyncClusterClient


async def identity(redis: Redis) -> tuple[str, int]:
    """Return the ids of the server's replication and of its run as one text, and how many keys it has evicted.

    A server that hides them (a managed one may) has an empty text, and no change is seen.

    Raises:
        RedisError: Redis is away.
    """
    if isinstance(redis, AsyncClusterClient):
        return await _identity_of_a_cluster(redis)
    pipeline: Any = redis.pipeline(transaction=False)
    for section in ("server", "replication", "stats"):
        pipeline.info(section)
    server, replication, stats = await pipeline.execute()
    return "/".join(_ids({**server, **replication})), _evicted(stats)


async def _identity_of_a_cluster(redis: AsyncClusterClient) -> tuple[str, int]:
    """Return one id of all primaries: a replica that takes over, or a primary that is new, changes it."""
    found = await redis.info(target_nodes=redis.PRIMARIES)
    infos = [found] if "run_id" in found else list(found.values())
    ids = sorted("/".join(_ids(info)) for info in infos)
    return sha256(" ".join(ids).encode()).hexdigest() if any(ids) else "", sum(map(_evicted, infos))


def _ids(info: Mapping[str, Any]) -> list[str]:
    return [str(part) for part in (info.get("master_replid"), info.get("run_id")) if part]


def _evicted(info: Mapping[str, Any]) -> int:
    return int(info.get("evicted_keys", 0))
