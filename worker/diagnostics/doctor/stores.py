"""Checks of the two stores, and of the keys of the values in them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from typing import Any, Final

from redis.exceptions import RedisError
from sqlalchemy import text

from models.migrations import HEAD
from worker.clock import TOLERATED_SKEW_S
from worker.context import AppContext
from worker.db.engine import current_revision, is_sqlite, reading, write_refused
from worker.db.fleet.sealed import sealed_sample
from worker.db.rekey import check
from worker.diagnostics.doctor.result import CheckResult, failed, ok, warning
from worker.errors import RefreshdError

#: `UPDATE ... FROM` came with 3.33, RETURNING with 3.35.
SQLITE_MIN: Final = (3, 35)
REDIS_MIN: Final = (6, 2)
POSTGRES_MIN: Final = 120_000
#: A Redis that may not evict refuses writes when it is full; this much of its limit is a warning.
NEARLY_FULL: Final = 0.9


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
                name, new_enough = f"PostgreSQL {number // 10000}", number >= POSTGRES_MIN
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
    """Check version, role, eviction, memory, persistence and clock."""
    try:
        client: Any = here.redis
        info: dict[str, Any] = client.info()
        seconds, micros = client.time()
    except (RedisError, OSError, RefreshdError) as error:
        yield failed("redis", str(error), "start it, or correct REFRESHD_REDIS_URL")
        return
    name = f"{info.get('server_name', 'redis')} {info.get('valkey_version', info['redis_version'])}"
    if tuple(int(part) for part in str(info["redis_version"]).split(".")[:2]) < REDIS_MIN:
        yield failed("redis", f"{name} is too old", "Redis 6.2 and later, or Valkey, work")
        return
    yield ok("redis", name)
    yield from _redis_writes(info)
    yield from _redis_memory(info)
    off_s = seconds + micros / 1e6 - here.clock.now()
    if abs(off_s) > TOLERATED_SKEW_S:
        yield warning(
            "clock",
            f"Redis' clock is {off_s:+.1f} s off the database's: tokens leave Redis too early or too late",
            "synchronize the clocks (NTP)",
        )


def _redis_writes(info: Mapping[str, Any]) -> Iterator[CheckResult]:
    if info.get("role", "master") != "master":
        yield failed(
            "redis writes",
            f"it is a replica of {info.get('master_host')}:{info.get('master_port')}: it takes no writes",
            "point REFRESHD_REDIS_URL to the primary",
        )
    if info.get("cluster_enabled"):
        yield failed(
            "redis writes",
            "it is a cluster: Celery's broker can't work on one",
            "point REFRESHD_REDIS_URL to a single primary, Sentinel or not",
        )
    broken = [
        name
        for name in ("rdb_last_bgsave_status", "aof_last_write_status", "aof_last_bgrewrite_status")
        if info.get(name, "ok") != "ok"
    ]
    if broken:
        yield failed(
            "redis writes",
            f"its last save to disk failed ({', '.join(broken)}): it may refuse writes, and a restart loses what it holds",
            "its log says why; mostly its disk is full, or the folder is not its own",
        )


def _redis_memory(info: Mapping[str, Any]) -> Iterator[CheckResult]:
    policy = info.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        yield failed(
            "redis eviction",
            f"maxmemory-policy is {policy}: Redis may throw away locks, stashed answers and messages",
            "`CONFIG SET maxmemory-policy noeviction`, and in its configuration",
        )
    used, most = int(info.get("used_memory", 0)), int(info.get("maxmemory", 0))
    if most and used > most * NEARLY_FULL:
        yield warning(
            "redis memory",
            f"{used / most:.0%} of its maxmemory are used; when it is full, it refuses locks, tokens and messages",
            "raise maxmemory: `CONFIG SET maxmemory BYTES`, and in its configuration",
        )
    if not info.get("aof_enabled"):
        yield warning(
            "redis persistence",
            "appendonly is off: a restart empties Redis; tokens are published again, stashed answers are lost",
            "`CONFIG SET appendonly yes`, and in its configuration",
        )


def check_keys(here: AppContext) -> Iterator[CheckResult]:
    """Check that every key in use is configured and opens its values; a sample of them, on a large fleet."""
    known = set(here.cipher.key_ids)
    used = sealed_sample(here.engine)
    missing = {key: count for key, count in used.keys.items() if key not in known}
    among = f" of {used.accounts:,} accounts that were looked at" if used.partial else ""
    for key, count in missing.items():
        yield failed(
            "keys",
            f"{count:,} values{among} are sealed with key {key!r}, which is not configured",
            "add it to REFRESHD_KEYS after the first; `refreshd keys check` names the accounts",
        )
    if missing:
        return
    sample = next(check(here.engine, here.cipher), None)
    if sample is not None and sample.unreadable:
        bad = sample.unreadable[0]
        yield failed(
            "keys",
            f"{len(sample.unreadable):,} values of the first {sample.accounts:,} accounts do not open: {bad.reason}",
            "a key of that id with other bytes is configured, or the rows were copied from another place: put the right "
            "key back; `refreshd keys check` names all",
        )
    else:
        words = (
            ", ".join(f"{key}: {count:,} values" for key, count in used.keys.items())
            or "nothing is sealed yet"
        )
        yield ok("keys", f"{len(known)} configured; {words}{among}")
