"""Ids that a person may have meant, for the error about an account that is not there."""

from __future__ import annotations

from typing import Final

import pytest
from sqlalchemy import Engine

from worker.db.accounts.nearest_ids import nearest_ids
from worker.db.accounts.stored import Accounts, blank

IDS: Final = [*(f"demo-{number:02}" for number in range(1, 41)), "Corp-Sales", "corp-support"]


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("corp-sales", ["Corp-Sales"]),
        ("demo-3", ["demo-03"]),
        ("DEMO-0003", ["demo-03"]),
        ("corp-suport", ["corp-support"]),
        ("nothing-like-it", []),
    ],
)
def test_an_id_that_is_not_there_has_its_nearest(engine: Engine, typed: str, found: list[str]) -> None:
    Accounts(engine).save([blank(one, provider="none") for one in IDS])
    assert nearest_ids(engine, typed) == found
