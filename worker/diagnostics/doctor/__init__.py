"""Checks of the installation for `refreshd doctor`. Each asks one thing of one outside part and yields findings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from redis.exceptions import RedisError

from worker.context import AppContext
from worker.diagnostics.doctor.clients import check_client_secrets
from worker.diagnostics.doctor.fleet import (
    check_beat,
    check_callbacks,
    check_pauses,
    check_proofs,
    check_webhooks,
    check_workers,
)
from worker.diagnostics.doctor.gates import check_gates
from worker.diagnostics.doctor.keys import check_keys, check_worker_keys
from worker.diagnostics.doctor.lost_commits import check_lost_commits
from worker.diagnostics.doctor.reports import check_reports
from worker.diagnostics.doctor.result import CheckResult, Level, failed, warning
from worker.diagnostics.doctor.settings import check_settings, check_versions
from worker.diagnostics.doctor.stores import check_database, check_redis
from worker.diagnostics.doctor.truth import check_clocks, check_content, check_set_back, check_tokens
from worker.diagnostics.doctor.twins import check_twins
from worker.errors import RefreshdError
from worker.redis.counts import LiveWorkers

#: What is asked of Redis, or of workers by way of it.
_NEED_REDIS: Final = ("lost commits", "reports", "workers", "callbacks", "gates")

__all__ = ["CheckResult", "Level", "run_checks"]


def run_checks(here: AppContext, staff: Callable[[], LiveWorkers | None]) -> Iterator[CheckResult]:
    """Yield the findings of every check, without checks of a store that does not answer.

    Args:
        here: the stores.
        staff: returns the live workers and beats; None if they can't be asked.
    """
    yield check_versions()
    yield from check_settings(here)
    database = list(check_database(here))
    yield from database
    redis = list(check_redis(here))
    yield from redis
    readable = all(one.check != "database" or one.level is not Level.FAILED for one in database)
    reachable = all(one.check not in {"redis", "broker"} or one.level is not Level.FAILED for one in redis)
    there = staff() if readable and reachable else None
    if readable:
        yield from _guarded("keys", lambda: check_keys(here))
        yield from _guarded("beat", lambda: check_beat(here, there))
        yield from _guarded("clock", lambda: check_set_back(here))
        yield from _guarded("tokens", lambda: check_tokens(here))
        yield from _guarded("redis content", lambda: check_content(here))
        yield from _guarded("webhooks", lambda: check_webhooks(here))
        yield from _guarded("pauses", lambda: check_pauses(here))
        yield from _guarded("clients", lambda: check_client_secrets(here))
        yield from _guarded("proofs of possession", lambda: check_proofs(here))
        yield from _guarded("shared grants", lambda: check_twins(here))
    if not reachable:
        for check in _NEED_REDIS:
            yield warning(check, "not checked: Redis is away", "mend Redis, and run doctor again")
    elif readable:
        yield from _guarded("clock", lambda: check_clocks(here))
        yield from _guarded("lost commits", lambda: check_lost_commits(here))
        yield from _guarded("reports", lambda: check_reports(here))
        yield from _guarded("workers", lambda: check_workers(here, there))
        yield from _guarded("keys", lambda: check_worker_keys(here, there))
        yield from _guarded("callbacks", lambda: check_callbacks(here))
        yield from _guarded("gates", lambda: check_gates(here))


def _guarded(name: str, check: Callable[[], Iterator[CheckResult]]) -> Iterator[CheckResult]:
    """Yield the findings of a check. An error that prevents it is its finding; the other checks run all the same."""
    try:
        yield from check()
    except (RefreshdError, RedisError, OSError) as error:
        yield failed(name, f"the check failed: {error}", "mend that, and run doctor again")
