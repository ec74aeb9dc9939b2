"""Which server answers as Redis, and how many keys it has: another one, or one with fewer, may lack what was there before."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from redis.asyncio import Redis

from models.redis_info import RedisInfo
from refreshd_reader.redis.cluster import AsyncClusterClient


async def look_at(redis: Redis) -> RedisInfo:
    """Ask Redis which server it is, and what has become of its keys.

    Raises:
        RedisError: Redis is away.
    """
    if isinstance(redis, AsyncClusterClient):
        return await _look_at_primaries(redis)
    pipeline: Any = redis.pipeline(transaction=False)
    for section in ("server", "replication", "stats", "keyspace"):
        pipeline.info(section)
    infos = await pipeline.execute()
    database = redis.connection_pool.connection_kwargs.get("db") or 0
    found: dict[str, Any] = {name: value for info in infos for name, value in info.items()}
    return RedisInfo("/".join(_ids(found)), *_counts(found, database))


async def _look_at_primaries(redis: AsyncClusterClient) -> RedisInfo:
    """Return one id of all primaries: a replica that takes over, or a primary that is new, changes it."""
    found = await redis.info(target_nodes=redis.PRIMARIES)
    infos = [found] if "run_id" in found else list(found.values())
    ids = sorted("/".join(_ids(info)) for info in infos)
    counts = zip(*(_counts(info, 0) for info in infos), strict=True)
    return RedisInfo(sha256(" ".join(ids).encode()).hexdigest() if any(ids) else "", *map(sum, counts))


def _ids(info: Mapping[str, Any]) -> list[str]:
    return [str(part) for part in (info.get("master_replid"), info.get("run_id")) if part]


def _counts(info: Mapping[str, Any], database: int) -> tuple[int, int, int]:
    """Return the keys of a database, and how many keys of any were evicted and expired."""
    keys = info.get(f"db{database}", {}).get("keys", 0)
    return int(keys), int(info.get("evicted_keys", 0)), int(info.get("expired_keys", 0))
