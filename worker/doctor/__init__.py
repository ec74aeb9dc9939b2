"""Checks of the installation: what stands on what, and what to do where something does not hold.

Each check asks one thing of one outside part and gives findings. `refreshd doctor` prints them all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from worker.doctor.checked import Checked, Level
from worker.doctor.fleet import (
    check_beat,
    check_callbacks,
    check_pauses,
    check_proofs,
    check_webhooks,
    check_workers,
)
from worker.doctor.settings import check_settings, check_versions
from worker.doctor.stores import check_database, check_keys, check_redis
from worker.io.traffic import Staff
from worker.stores import Stores

__all__ = ["Checked", "Level", "examine"]


def examine(here: Stores, staff: Callable[[], Staff | None]) -> Iterator[Checked]:
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
        yield from check_keys(here)
        yield from check_beat(here, there)
        yield from check_webhooks(here)
        yield from check_pauses(here)
        yield from check_proofs(here)
    if readable and reachable:
        yield from check_workers(here, there)
        yield from check_callbacks(here)
