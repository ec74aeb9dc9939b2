"""Checks of the two stores."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from redis import Redis
from redis.exceptions import AuthenticationError, OutOfMemoryError, ReadOnlyError, RedisError
from sqlalchemy import text

from models.migrations import HEAD
from refreshd_reader.redis.cluster import ClusterClient
from worker.clock import TOLERATED_SKEW_S
from worker.context import AppContext
from worker.db.engine import current_revision, is_sqlite, reading, write_refused
from worker.db.postgresql.connections import is_pooled
from worker.diagnostics.doctor.cluster import check_cluster, key_on, primaries_of
from worker.diagnostics.doctor.result import CheckResult, failed, ok, warning
from worker.errors import RefreshdError

#: `UPDATE ... FROM` came with 3.33, RETURNING with 3.35.
SQLITE_MIN: Final = (3, 35)
REDIS_MIN: Final = (6, 2)
POSTGRES_MIN: Final = 120_000
#: A Redis that may not evict refuses writes when it is full; this much of its limit is a warning.
NEARLY_FULL: Final = 0.9
#: Long enough to be a write, too short to stay.
_WRITE_CHECK_MS: Final = 1_000


def check_database(here: AppContext) -> Iterator[CheckResult]:
    """Check version, schema, write access and clock."""
    try:
        engine = here.engine
        with reading(engine) as connection:
            if is_sqlite(engine):
                name, new_enough = (
                    f"SQLite {sqlite3.sqlite_version}",
                    sqlite3.sqlite_version_info >= SQLITE_MIN,
                )
            else:
                number = int(str(connection.execute(text("SHOW server_version_num")).scalar_one()))
                pooler = " behind a connection pooler" if is_pooled(connection) else ""
                name, new_enough = f"PostgreSQL {number // 10000}{pooler}", number >= POSTGRES_MIN
    except RefreshdError as error:
        yield failed("database", str(error), "`refreshd db upgrade`, or correct REFRESHD_DATABASE_URL")
        return
    if not new_enough:
        yield failed("database", f"{name} is too old", "SQLite 3.35 or PostgreSQL 12 and later work")
        return
    current, head = current_revision(engine), HEAD
    words = f"{name}, schema at revision {current}" + (
        "" if current == head else f", newer than this code's {head}"
    )
    yield ok("database", words)
    if refused := write_refused(engine):
        yield failed(
            "database writes",
            f"it can be read and not written, so nothing is refreshed: {refused}",
            "give its disk space and the role its rights; after a failover, point REFRESHD_DATABASE_URL to the primary",
        )
    skew_s = here.clock.skew_s()
    if abs(skew_s) > TOLERATED_SKEW_S:
        yield warning(
            "clock",
            f"this machine's clock is {skew_s:+.1f} s off the database's",
            "synchronize the clocks (NTP): readers compare `expires_at` with their own",
        )


def check_redis(here: AppContext) -> Iterator[CheckResult]:
    """Check version, role, writes, eviction, memory, persistence and clock of each Redis."""
    yield from _check_server(here, "redis", "REFRESHD_REDIS_URL", lambda: here.redis)
    if here.settings.broker_url is not None:
        yield from _check_server(here, "broker", "REFRESHD_BROKER_URL", lambda: here.broker)


def _check_server(
    here: AppContext, name: str, setting: str, connected: Callable[[], Redis]
) -> Iterator[CheckResult]:
    try:
        client: Any = connected()
        nodes = _nodes(client)
        seconds, micros = client.time()
    except (RedisError, OSError, RefreshdError) as error:
        yield failed(
            name,
            str(error),
            f"it is there and refuses the login: correct the user and the password in {setting}"
            if _refuses_login(error)
            else f"start it, or correct {setting}",
        )
        return
    for info in nodes.values():
        kind = f"{info.get('server_name', 'redis')} {info.get('valkey_version', info['redis_version'])}"
        if tuple(int(part) for part in str(info["redis_version"]).split(".")[:2]) < REDIS_MIN:
            yield failed(name, f"{kind} is too old", "Redis 6.2 and later, or Valkey, work")
            return
    prefix = here.settings.redis_prefix
    if isinstance(client, ClusterClient):
        yield ok(name, f"{kind}, a Cluster of {len(nodes)} primaries")
        yield from check_cluster(client, nodes, name)
    else:
        yield ok(name, kind)
        yield from _no_node_of_a_cluster(info, name, setting)
    for node, info in nodes.items():
        one = f"{name} {node}".rstrip()
        yield from _redis_writes(info, one, setting)
        yield from _test_write(client, _key_of(client, node, prefix), one)
        yield from _redis_memory(info, one)
    off_s = seconds + micros / 1e6 - here.clock.now()
    if abs(off_s) > TOLERATED_SKEW_S:
        yield warning(
            "clock",
            f"Redis' clock is {off_s:+.1f} s off the database's: tokens leave Redis too early or too late"
            if name == "redis"
            else f"the broker's clock is {off_s:+.1f} s off the database's: workers and beats are compared with it",
            "synchronize the clocks (NTP)",
        )


def _refuses_login(error: BaseException | None) -> bool:
    while error is not None and not isinstance(error, AuthenticationError):
        error = error.__cause__ or error.__context__
    return error is not None


def _nodes(client: Any) -> Mapping[str, Mapping[str, Any]]:
    """Return what each primary of a Cluster says of itself, by address; of one server, without an address."""
    return primaries_of(client) if isinstance(client, ClusterClient) else {"": client.info()}


def _key_of(client: Any, node: str, prefix: str) -> str:
    key = f"{prefix}write-check"
    return key_on(client, node, key) if node else key


def _test_write(client: Any, key: str, name: str) -> Iterator[CheckResult]:
    """Write a key that ends at once."""
    try:
        client.set(key, "1", px=_WRITE_CHECK_MS)
    except OutOfMemoryError:
        yield failed(
            f"{name} writes",
            "it is full (maxmemory) and refuses writes: no lease, no message, no published token, so nothing is refreshed; "
            "what is published stays until it ends",
            "raise maxmemory: `CONFIG SET maxmemory BYTES`, and in its configuration; everything goes on within seconds",
        )
    except ReadOnlyError:
        return  # its role says it
    except RedisError as error:
        yield failed(
            f"{name} writes",
            f"a test write was refused: {error}",
            "give its user the rights of deploy/redis/users.acl; its log says what else keeps it from writing",
        )


def _no_node_of_a_cluster(info: Mapping[str, Any], name: str, setting: str) -> Iterator[CheckResult]:
    if info.get("cluster_enabled"):
        single = "a single primary, or sentinels"
        yield failed(
            f"{name} writes",
            "it is a node of a Redis Cluster (cluster_enabled:1), and is spoken to as a single server",
            f"point {setting} to {single}"
            if name == "broker"
            else f"write {setting}=cluster://USER:PASSWORD@HOST:6379,HOST:6379, and point REFRESHD_BROKER_URL to {single}",
        )


def _redis_writes(info: Mapping[str, Any], name: str, setting: str) -> Iterator[CheckResult]:
    if info.get("role", "master") != "master":
        yield failed(
            f"{name} writes",
            f"it is a replica of {info.get('master_host')}:{info.get('master_port')}: it takes no writes",
            f"point {setting} to the primary, or to the sentinels that know it: sentinel://HOST:26379,HOST:26379/MASTER/0",
        )
    broken = [
        key
        for key in ("rdb_last_bgsave_status", "aof_last_write_status", "aof_last_bgrewrite_status")
        if info.get(key, "ok") != "ok"
    ]
    if broken:
        yield failed(
            f"{name} writes",
            f"its last save to disk failed ({', '.join(broken)}): it may refuse writes, and a restart loses what it holds",
            "its log says why; mostly its disk is full, or the folder is not its own",
        )


def _redis_memory(info: Mapping[str, Any], name: str) -> Iterator[CheckResult]:
    policy = info.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        yield failed(
            f"{name} eviction",
            f"maxmemory-policy is {policy}: when it is full, it throws away without a word what grants depend on: leases (then "
            "one refresh token is sent twice, and a provider may revoke the grant), answers that wait sealed for the database "
            "(a rotated refresh token is lost, and its owner has to log in again), tokens that connectors read, messages",
            "`CONFIG SET maxmemory-policy noeviction`, and in its configuration",
        )
    used, most = int(info.get("used_memory", 0)), int(info.get("maxmemory", 0))
    if most and used > most * NEARLY_FULL:
        yield warning(
            f"{name} memory",
            f"{used / most:.0%} of its maxmemory are used; when it is full, it refuses locks, tokens and messages",
            "raise maxmemory: `CONFIG SET maxmemory BYTES`, and in its configuration",
        )
    if not info.get("aof_enabled"):
        yield warning(
            f"{name} persistence",
            "appendonly is off: a restart empties Redis; tokens are published again, stashed answers are lost",
            "`CONFIG SET appendonly yes`, and in its configuration",
        )
