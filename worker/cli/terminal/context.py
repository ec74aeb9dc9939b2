"""The stores that a command works on, opened by the settings of its environment."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from worker.context import AppContext
from worker.db.accounts.nearest_ids import nearest_ids
from worker.db.accounts.rows import find_accounts
from worker.errors import UnknownAccount
from worker.settings import load_settings

if TYPE_CHECKING:  # tables bring the ORM, which reading an account has no use for
    from models.tables.account import Account


@contextmanager
def open_stores() -> Iterator[AppContext]:
    """Open the stores for a command; connections are closed behind it."""
    here = AppContext(load_settings())
    try:
        yield here
    finally:
        here.close()


def accounts_of(here: AppContext, ids: Sequence[str]) -> list[Account]:
    """Read accounts, in this order.

    Raises:
        UnknownAccount: there is none of one of these ids; it names those that are spelled nearly so.
    """
    found = find_accounts(here.engine, ids)
    for account_id in ids:
        if account_id not in found:
            raise UnknownAccount(account_id, near=nearest_ids(here.engine, account_id))
    return [found[account_id] for account_id in ids]
