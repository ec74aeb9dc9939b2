"""Check that no two accounts of one client hold the same refresh token."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from models.tables.account import Account
from worker.accounts.twins import SameGrant
from worker.context import AppContext
from worker.db.fleet.twins import shared
from worker.diagnostics.doctor.result import CheckResult, warning

#: Shared grants listed one by one, and accounts of each.
_GRANTS_NAMED_MAX: Final = 10
_ACCOUNTS_NAMED_MAX: Final = 5


def check_twins(here: AppContext) -> Iterator[CheckResult]:
    """List accounts that have the same grant: the first refresh of one can end it for all."""
    same = SameGrant(here.providers)
    grants = {
        tuple(one.id for one in twins): twins
        for accounts in shared(here.engine).values()
        for twins in _of_one_client(accounts, same)
    }
    for twins in list(grants.values())[:_GRANTS_NAMED_MAX]:
        names = ", ".join(f"{one.id} ({one.status})" for one in twins[:_ACCOUNTS_NAMED_MAX])
        more = f" and {len(twins) - _ACCOUNTS_NAMED_MAX:,} more" if len(twins) > _ACCOUNTS_NAMED_MAX else ""
        yield warning(
            "shared grants",
            f"{names}{more} of {twins[0].provider} have the same refresh token, or were given the same one: where it is "
            "replaced at each use, the first refresh of one ends the grant of all",
            "keep one and `refreshd accounts disable` the others, or give each a grant of its own: "
            f"`refreshd accounts authorize {twins[-1].id}`",
        )
    if len(grants) > _GRANTS_NAMED_MAX:
        yield warning(
            "shared grants",
            f"... and {len(grants) - _GRANTS_NAMED_MAX:,} more, at least",
            "`refreshd explain ACCOUNT` names the twins of one; `refreshd doctor` names the next ones when these are mended",
        )


def _of_one_client(accounts: Sequence[Account], same: SameGrant) -> Iterator[list[Account]]:
    """Return, of the accounts of one fingerprint, those that are one grant, where they are more than one."""
    groups: list[list[Account]] = []
    for account in accounts:
        group = next((one for one in groups if same(one[0], account)), None)
        if group is None:
            groups.append([account])
        else:
            group.append(account)
    return (group for group in groups if len(group) > 1)
