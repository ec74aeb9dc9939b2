"""The SQL of ids that a person may have meant."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Final

from sqlalchemy import Engine, text

from worker.db.engine import reading

#: Ids with the same beginning that are compared.
_ALIKE: Final = 1000


def nearest_ids(engine: Engine, account_id: str) -> list[str]:
    """Return ids that a person may have meant: the same letters in another case, or nearly the same. A scan."""
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
        return get_close_matches(account_id, [str(one) for one in alike], 2, 0.8)
