"""The SQL of ids that a person may have meant."""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import Final

from sqlalchemy import Engine, text

from worker.db.engine import reading

#: Ids with the same beginning that are compared.
_ALIKE: Final = 1000


def nearest_ids(engine: Engine, account_id: str) -> list[str]:
    """Return ids that a person may have meant: the same letters in another case, the same numbers, or nearly the same."""
    with reading(engine) as connection:
        same = connection.execute(
            text("SELECT id FROM account WHERE lower(id) = lower(:id) ORDER BY id LIMIT 3"),
            {"id": account_id},
        ).scalars()
        if found := [str(one) for one in same]:
            return found
        alike = connection.execute(
            text(
                "SELECT id FROM account WHERE lower(substr(id, 1, 2)) = lower(:start) ORDER BY id LIMIT :most"
            ),
            {"start": account_id[:2], "most": _ALIKE},
        ).scalars()
        ids = [str(one) for one in alike]
    numbered = [one for one in ids if _number_as_meant(one) == _number_as_meant(account_id)]
    return numbered[:3] or get_close_matches(account_id, ids, 2, 0.8)


def _number_as_meant(account_id: str) -> str:
    """Return an id without the zeros before its numbers."""
    return re.sub(r"\d+", lambda number: number[0].lstrip("0"), account_id.casefold())
