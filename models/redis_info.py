"""What a Redis server says of itself (INFO)."""

from __future__ import annotations

from msgspec import Struct


class RedisInfo(Struct, frozen=True):
    """What a server says of itself; of a Cluster, all primaries together."""

    #: The ids of its replication and of its run, as one text; empty where it hides them (a managed one may).
    id: str = ""
    #: Keys that it has now.
    keys: int = 0
    #: Keys that it had to evict since it was started.
    evicted: int = 0
    #: Keys whose time was over since it was started.
    expired: int = 0
