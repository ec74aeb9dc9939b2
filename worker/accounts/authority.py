"""Whose accounts somebody may see and touch: those that have certain labels. For others it is as if there were none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from sqlalchemy import Connection

from worker.db.accounts import labels as sql

if TYPE_CHECKING:  # tables bring the ORM, which reading an account has no use for
    from models.tables.account import Account

#: Whoever works on the installation itself sees every account.
EVERY_ACCOUNT: Final[Mapping[str, str]] = {}


def sees(required: Mapping[str, str], account: Account) -> bool:
    """Return whether an account has the labels that are required."""
    return not required or required.items() <= account.label_set.items()


def foreign(connection: Connection, required: Mapping[str, str], ids: Sequence[str]) -> set[str]:
    """Return which accounts, within the transaction that stores them, are there and lack a label that is required."""
    return sql.lacking(connection, ids, required) if required else set()
