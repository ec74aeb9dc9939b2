"""What one provider process holds, and the sum of what it saw."""

from __future__ import annotations

from typing import Final

from aiohttp import web
from msgspec import Struct, field

from worker.local.demo.provider.codes import Codes
from worker.local.demo.provider.faults import Faults
from worker.local.demo.provider.grants import REVOKED_BY_OWNER, REVOKED_BY_REUSE, Grants


class ProviderState(Struct):
    """Everything is in memory."""

    grants: Grants
    faults: Faults
    latency_s: float = 0.0
    codes: Codes = field(default_factory=Codes)
    #: Refresh requests, and those of them that were answered with an error.
    requests: int = 0
    refused: int = 0


STATE: Final = web.AppKey("state", ProviderState)


def total(state: ProviderState) -> dict[str, int]:
    """Sum up what happened. `reuses`, and `max_in_flight` above 1, are what must never be seen."""
    grants = state.grants.by_id.values()
    return {
        "grants": len(grants),
        "requests": state.requests,
        "refreshes": sum(grant.refreshes for grant in grants),
        "replays": sum(grant.replays for grant in grants),
        "refused": state.refused,
        "reuses": sum(grant.reuses for grant in grants),
        "max_in_flight": max((grant.max_in_flight for grant in grants), default=0),
        "revoked_by_owner": sum(grant.revoked == REVOKED_BY_OWNER for grant in grants),
        "revoked_by_reuse": sum(grant.revoked == REVOKED_BY_REUSE for grant in grants),
        "faults": sum(fault.happened for fault in state.faults.set),
    }
