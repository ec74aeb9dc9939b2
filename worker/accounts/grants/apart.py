"""Grants that are stored together, and each alone where that fails: one that no row can hold keeps no other from its commit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from worker.accounts.entry import RowRefused
from worker.accounts.grants.entry import Grant
from worker.errors import DatabaseUnreachable, RefreshdError
from worker.log import log

Result = TypeVar("Result")
_Published = Sequence[tuple[str, int]]


def apart(
    store: Callable[[Mapping[int, Grant], _Published], dict[int, Result | Exception]],
    grants: Mapping[int, Grant],
    published: _Published,
) -> dict[int, Result | Exception]:
    """Return what became of each grant, by its number; of one that alone is refused as well, what was raised.

    Args:
        store: stores grants in one transaction, of which nothing is left where it raises.
        grants: by number.
        published: what the commit notes beside them.

    Raises:
        DatabaseUnreachable: it went away; which of them are stored is unknown.
    """
    try:
        return store(grants, published)
    except DatabaseUnreachable:
        raise
    except Exception as error:  # noqa: BLE001  (the grants beside it are stored)
        if len(grants) == 1:
            if not isinstance(error, RowRefused | RefreshdError):
                log.error("grant_not_stored", account=next(iter(grants.values())).account, exc_info=error)
            return dict.fromkeys(grants, error)
    found: dict[int, Result | Exception] = {}
    for number, grant in grants.items():
        found |= apart(store, {number: grant}, published)
        published = ()  # a note that is lost is made again by a worker
    return found
