"""Checks of the installation: what stands on what, and what to do where something does not hold.

Each check asks one thing of one outside part and gives findings. `refreshd doctor` prints them all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from redis.exceptions import RedisError

from worker.context import Stores
from worker.diagnostics.doctor.fleet import (
    check_beat,
    check_callbacks,
    check_pauses,
    check_proofs,
    check_webhooks,
    check_workers,
)
from worker.diagnostics.doctor.gates import check_gates
from worker.diagnostics.doctor.result import Checked, Level
from worker.diagnostics.doctor.settings import check_settings, check_versions
from worker.diagnostics.doctor.stores import check_database, check_keys, check_redis
from worker.diagnostics.doctor.truth import check_clocks, check_set_back, check_tokens
from worker.diagnostics.doctor.twins import check_twins
from worker.errors import RefreshdError
from worker.redis.counts import LiveWorkers

__all__ = ["Checked", "Level", "examine"]


def examine(here: Stores, staff: Callable[[], LiveWorkers | None]) -> Iterator[Checked]:
    """Run every check; what can't be asked because of an earlier failure is left out.

    Args:
        here: the stores.
        staff: asks which workers and beats are there; None where nobody can be asked.
    """
    yield check_versions()
    yield from check_settings(here)
    database = list(check_database(here))
    yield from database
    redis = list(check_redis(here))
    yield from redis
    readable = all(one.check != "database" or one.level is not Level.FAILED for one in database)
    reachable = all(one.check != "redis" or one.level is not Level.FAILED for one in redis)
    there = staff() if reachable else None
    if readable:
        yield from _told("keys", lambda: check_keys(here))
        yield from _told("beat", lambda: check_beat(here, there))
        yield from _told("clock", lambda: check_set_back(here))
        yield from _told("tokens", lambda: check_tokens(here))
        yield from _told("webhooks", lambda: check_webhooks(here))
        yield from _told("pauses", lambda: check_pauses(here))
        yield from _told("proofs of possession", lambda: check_proofs(here))
        yield from _told("shared grants", lambda: check_twins(here))
    if readable and reachable:
        yield from _told("clock", lambda: check_clocks(here))
        yield from _told("workers", lambda: check_workers(here, there))
        yield from _told("callbacks", lambda: check_callbacks(here))
        yield from _told("gates", lambda: check_gates(here))


def _told(name: str, check: Callable[[], Iterator[Checked]]) -> Iterator[Checked]:
    """Run a check; what keeps it from being made is its finding, and the others are made all the same."""
    try:
        yield from check()
    except (RefreshdError, RedisError, OSError) as error:
        yield Checked(name, Level.FAILED, f"can't be looked at: {error}", "mend that, and run doctor again")
