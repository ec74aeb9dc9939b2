"""Checks of the installation: what stands on what, and what to do where something does not hold.

Each check asks one thing of one outside part and gives findings. `refreshd doctor` prints them all.
"""

from __future__ import annotations

import platform
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import version
from typing import Any, Final

from redis.exceptions import RedisError
from sqlalchemy import text

from worker.errors import RefreshdError
from worker.io.broker import VISIBILITY_TIMEOUT_S
from worker.io.callback_presence import Presence
from worker.io.callback_use import lacking, uses
from worker.io.clock import TOLERATED_SKEW_S
from worker.io.database import head_revision, is_sqlite, reading
from worker.io.fleet import sealed_with, uses_callbacks
from worker.stores import Stores

#: `UPDATE ... FROM` came with 3.33, RETURNING with 3.35.
SQLITE_MIN: Final = (3, 35)
REDIS_MIN: Final = (6, 2)
POSTGRES_MIN: Final = 120_000
PLAN_LATE_S: Final = 15.0
#: What a group takes beside its calls.
TASK_BESIDE_CALLS_S: Final = 60.0
#: Pauses that are named one by one.
PAUSES_NAMED_MAX: Final = 10
NEEDED_QUEUES: Final = ("urgent", "control", "refresh")


class Level(StrEnum):
    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Checked:
    """What one check found."""

    check: str
    level: Level
    words: str
    remedy: str = ""


Workers = Mapping[str, Sequence[str]] | None


def examine(here: Stores, workers: Callable[[], Workers]) -> Iterator[Checked]:
    """Run every check; what can't be asked because of an earlier failure is left out."""
    yield _versions()
    yield from _settings(here)
    database = list(_database(here))
    yield from database
    redis = list(_redis(here))
    yield from redis
    if all(one.level is not Level.FAILED for one in database):
        yield from _keys(here)
        yield from _beat(here)
        yield from _webhooks(here)
        yield from _pauses(here)
    if all(one.level is not Level.FAILED for one in redis):
        yield from _workers(here, workers())
    if all(one.level is not Level.FAILED for one in (*database, *redis)):
        yield from _callbacks(here)


def _versions() -> Checked:
    names = ("refreshd", "celery", "kombu", "redis", "flower", "sqlalchemy", "httpx")
    return Checked(
        "versions",
        Level.OK,
        f"Python {platform.python_version()}, " + ", ".join(f"{name} {version(name)}" for name in names),
    )


def _settings(here: Stores) -> Iterator[Checked]:
    settings = here.settings
    longest_s = settings.claim_seconds + TASK_BESIDE_CALLS_S
    if longest_s * 2 > VISIBILITY_TIMEOUT_S:
        yield Checked(
            "settings",
            Level.WARNING,
            f"a task may take {longest_s:.0f} s, and an unacknowledged message comes again after {VISIBILITY_TIMEOUT_S} s",
            "shorten REFRESHD_CALL_TIMEOUT_S: a message must not come again while its task runs",
        )
    if settings.plan_interval_s > settings.call_timeout_s:
        yield Checked(
            "settings",
            Level.WARNING,
            f"a plan every {settings.plan_interval_s:g} s may begin refreshes of short tokens too late",
            "lower REFRESHD_PLAN_INTERVAL_S (1 is the default)",
        )
    try:
        here.providers  # noqa: B018
        here.cipher  # noqa: B018
    except RefreshdError as error:
        yield Checked("settings", Level.FAILED, str(error), "correct the setting that it names")
        return
    yield Checked(
        "settings",
        Level.OK,
        f"call timeout {settings.call_timeout_s:g} s, claim {settings.claim_seconds:g} s",
    )


def _database(here: Stores) -> Iterator[Checked]:
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
        yield Checked(
            "database", Level.FAILED, str(error), "`refreshd db upgrade`, or correct REFRESHD_DATABASE_URL"
        )
        return
    if not new_enough:
        yield Checked(
            "database", Level.FAILED, f"{name} is too old", "SQLite 3.35 or PostgreSQL 12 and later work"
        )
        return
    yield Checked("database", Level.OK, f"{name}, schema at revision {head_revision()}")
    skew_s = here.clock.skew_s()
    if abs(skew_s) > TOLERATED_SKEW_S:
        yield Checked(
            "clock",
            Level.WARNING,
            f"this machine's clock is {skew_s:+.1f} s off the database's",
            "synchronize the clocks (NTP): readers compare `expires_at` with their own",
        )


def _redis(here: Stores) -> Iterator[Checked]:
    try:
        client: Any = here.redis
        info: dict[str, Any] = client.info()
        seconds, micros = client.time()
    except (RedisError, OSError, RefreshdError) as error:
        yield Checked("redis", Level.FAILED, str(error), "start it, or correct REFRESHD_REDIS_URL")
        return
    name = f"{info.get('server_name', 'redis')} {info.get('valkey_version', info['redis_version'])}"
    if tuple(int(part) for part in str(info["redis_version"]).split(".")[:2]) < REDIS_MIN:
        yield Checked("redis", Level.FAILED, f"{name} is too old", "Redis 6.2 and later, or Valkey, work")
        return
    yield Checked("redis", Level.OK, name)
    yield from _redis_memory(info)
    off_s = seconds + micros / 1e6 - here.clock.now()
    if abs(off_s) > TOLERATED_SKEW_S:
        yield Checked(
            "clock",
            Level.WARNING,
            f"Redis' clock is {off_s:+.1f} s off the database's: tokens leave Redis too early or too late",
            "synchronize the clocks (NTP)",
        )


def _redis_memory(info: Mapping[str, Any]) -> Iterator[Checked]:
    policy = info.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        yield Checked(
            "redis eviction",
            Level.FAILED,
            f"maxmemory-policy is {policy}: Redis may throw away locks, stashed answers and messages",
            "`CONFIG SET maxmemory-policy noeviction`, and in its configuration",
        )
    if not info.get("aof_enabled"):
        yield Checked(
            "redis persistence",
            Level.WARNING,
            "appendonly is off: a restart empties Redis; tokens are published again, stashed answers are lost",
            "`CONFIG SET appendonly yes`, and in its configuration",
        )


def _keys(here: Stores) -> Iterator[Checked]:
    known = set(here.cipher.key_ids)
    used = sealed_with(here.engine)
    missing = {key: count for key, count in used.items() if key not in known}
    for key, count in missing.items():
        yield Checked(
            "keys",
            Level.FAILED,
            f"{count:,} values are sealed with key {key!r}, which is not configured",
            "add it to REFRESHD_KEYS after the first; `refreshd keys check` names the accounts",
        )
    if not missing:
        words = (
            ", ".join(f"{key}: {count:,} values" for key, count in used.items()) or "nothing is sealed yet"
        )
        yield Checked("keys", Level.OK, f"{len(known)} configured; {words}")


def _webhooks(here: Stores) -> Iterator[Checked]:
    try:
        configured = {one.name for one in here.endpoints}
    except RefreshdError as error:
        yield Checked("webhooks", Level.FAILED, str(error), "correct the setting that it names")
        return
    backlogs = here.outbox.backlog()
    for one in backlogs:
        if one.put_aside or one.last_error:
            yield Checked(
                "webhooks",
                Level.WARNING,
                f"{one.endpoint}: {one.waiting:,} waiting, {one.put_aside:,} put aside"
                + (f"; the last attempt got: {one.last_error}" if one.last_error else ""),
                "`refreshd webhooks test` shows whether it takes one now, `refreshd webhooks retry` sends again what was "
                "put aside"
                if one.endpoint in configured
                else "REFRESHD_WEBHOOK_URL names it no more: what waits is put aside in time",
            )
    if configured and not any(one.put_aside or one.last_error for one in backlogs):
        yield Checked("webhooks", Level.OK, ", ".join(sorted(configured)))


def _beat(here: Stores) -> Iterator[Checked]:
    with reading(here.engine) as connection:
        finished = connection.execute(text("SELECT finished_at FROM duty WHERE name = 'plan'")).scalar()
    late_s = None if finished is None else here.clock.now() - float(finished)
    if late_s is None or late_s > PLAN_LATE_S + here.settings.plan_interval_s:
        yield Checked(
            "beat",
            Level.FAILED,
            "nothing was ever planned" if late_s is None else f"the last plan ended {late_s:.0f} s ago",
            "start `celery -A worker.app beat` and a worker that takes from `control`",
        )
    else:
        yield Checked("beat", Level.OK, f"the last plan ended {late_s:.1f} s ago")


def _pauses(here: Stores) -> Iterator[Checked]:
    found, now = here.pauses.all(), here.clock.now()
    for one in found[:PAUSES_NAMED_MAX]:
        why = f": {one.reason}" if one.reason else ""
        yield Checked(
            "pauses",
            Level.WARNING,
            f"{one.what} is paused for {now - one.paused_at:.0f} s, by {one.actor}@{one.host}{why}",
            f"`refreshd resume {one.option}` when the time has come",
        )
    if len(found) > PAUSES_NAMED_MAX:
        yield Checked(
            "pauses",
            Level.WARNING,
            f"... and {len(found) - PAUSES_NAMED_MAX:,} more",
            "`refreshd pause` names them all",
        )


def _workers(here: Stores, workers: Workers) -> Iterator[Checked]:
    taken = {queue for queues in (workers or {}).values() for queue in queues}
    lacking = [queue for queue in NEEDED_QUEUES if queue not in taken]
    if uses_callbacks(here.engine) and "callback" not in taken:
        lacking.append("callback")
    if lacking:
        yield Checked(
            "workers",
            Level.FAILED,
            f"nobody takes from {', '.join(lacking)}",
            "start `celery -A worker.app worker -P threads -c 8 -Q refresh,urgent,control`"
            + (" and `celery -A worker.app worker -P prefork -Q callback`" if "callback" in lacking else ""),
        )
    if workers:
        words = "; ".join(f"{name} takes {', '.join(queues)}" for name, queues in workers.items())
        yield Checked("workers", Level.OK, words)


def _callbacks(here: Stores) -> Iterator[Checked]:
    offers = Presence(here.redis, here.settings.redis_prefix).offers()
    used = uses(here.engine)
    missing = lacking(used, offers)
    for one in missing:
        yield Checked(
            "callbacks",
            Level.FAILED,
            f"{one.use.shown}: no running worker knows the callback: {one.words}",
            "correct the accounts, or list its module in REFRESHD_CALLBACK_MODULES of the callback workers",
        )
    for worker, offer in offers.items():
        for where, why in offer.problems.items():
            yield Checked(
                "callbacks", Level.WARNING, f"{worker}: {where}: {why}", "mend it: nothing of it can be run"
            )
    if used and not missing:
        yield Checked(
            "callbacks", Level.OK, ", ".join(f"{one.name}: {one.accounts:,} accounts" for one in used)
        )
