"""`refreshd.registrations`: keep what is known of authorization servers, and clients that were registered with them."""

from __future__ import annotations

from typing import Any

from tasks._periodic import periodic
from worker.intake.upkeep import keep_up
from worker.runtime import runtime


@periodic("refreshd.registrations", event="registrations_not_kept", words="not kept")
def registrations() -> dict[str, Any]:
    """Read metadata again by their age, renew registrations before their end, and make forgotten ones again."""
    return dict(keep_up(runtime()))
