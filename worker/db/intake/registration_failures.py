"""Which registrations of clients could not be kept, and why: what the last run of `refreshd.registrations` noted."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import asdict
from sqlalchemy import Engine

from worker.db.fleet_locks import FleetLock

#: The lock that a run holds; its note is what failed.
LOCK: Final = "registrations"
#: Longer than one run takes.
LOCK_S: Final = 110.0


class RegistrationFailure(Struct, frozen=True):
    """Why a client's registration could not be renewed or made again, and when that was tried, epoch seconds."""

    at: float
    reason: str
    words: str
    #: How often in turn.
    tries: int = 1
    #: An answer was lost that may have had a newer token: that the one before it is refused says nothing of the client.
    unsure: bool = False


def note_of(failed: Mapping[str, RegistrationFailure]) -> str:
    return json.dumps({client: asdict(one) for client, one in failed.items()})


def failures_of(note: str | None) -> dict[str, RegistrationFailure]:
    """Return what a run noted: client -> why its registration could not be kept."""
    try:
        read: Mapping[str, Any] = json.loads(note or "{}")
        return {client: RegistrationFailure(**one) for client, one in read.items()}
    except (ValueError, TypeError):
        return {}


def failure_of(engine: Engine, client: str) -> RegistrationFailure | None:
    """Return why a client's registration could not be kept, None where nothing failed.

    Raises:
        DatabaseUnreachable: the database is away.
    """
    return failures_of(FleetLock(engine, LOCK, holder="", ttl_s=LOCK_S).note()).get(client)
