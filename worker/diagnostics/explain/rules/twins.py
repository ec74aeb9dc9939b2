"""Findings about accounts of one client that hold the same refresh token. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from models.account_state import Status
from worker.diagnostics.explain.facts import Facts, Finding

SHARED_GRANT: Final = "shared_grant"
#: So many twins are named.
_NAMED_MAX: Final = 3


def twins(facts: Facts) -> Iterator[Finding]:
    """Yield the accounts that hold the same grant, what that costs and what to do."""
    account, found = facts.account, facts.twins
    if not found:
        return
    seen = [one for one in found if one.id is not None]
    names = ", ".join(f"{one.id} ({one.status})" for one in seen[:_NAMED_MAX])
    more = f" and {len(seen) - _NAMED_MAX} more" if len(seen) > _NAMED_MAX else ""
    which = f": {names}{more}" if seen else ""
    rotates = facts.provider is not None and facts.provider.rotates
    lost = account.status == Status.REAUTHORIZE
    if lost:
        costs = "Each refresh of one can end the grant of both, which is what has happened here."
    elif rotates:
        costs = "This provider replaces it at each use: the first refresh of one ends the grant of the other, or of both."
    else:
        costs = "Where a provider replaces it at each use, the first refresh of one ends the grant of both."
    again = (
        f"have its owner log in again, for a grant of its own: `refreshd accounts authorize {account.id}`."
    )
    hint = (
        f"Keep one of them: `refreshd accounts disable {account.id}`, and have its connectors read {seen[0].id}. "
        f"If {account.id} is needed beside it, {again}"
        if seen
        else f"{again[0].upper()}{again[1:]}"
    )
    yield Finding(
        SHARED_GRANT,
        f"It has the refresh token of another account of the same client, or was given the same one{which}. {costs}",
        hint,
        wrong=lost or bool(rotates) or account.status != Status.ACTIVE,
    )
