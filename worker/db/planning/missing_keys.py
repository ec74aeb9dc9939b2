"""Accounts that wait for a key, made due once a worker has it."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from sqlalchemy import Engine, text

from models.tables.account import Status
from worker.crypto.cipher import key_of
from worker.crypto.sealer import SEALED_COLUMNS
from worker.db.bulk import execute
from worker.db.engine import now_sql, reading, writing
from worker.db.repair.rekey import BATCH
from worker.policy.reasons.correction import KEY_MISSING

_WAITING: Final = text(
    f"SELECT account.id, {', '.join(f'account.{column}' for column in SEALED_COLUMNS)}, client.client_secret_sealed "
    "FROM account LEFT JOIN client ON client.name = account.client "
    "WHERE account.status = :status AND account.reason = :reason AND account.id > :after ORDER BY account.id LIMIT :batch"
)


def wake(engine: Engine, key_ids: Collection[str]) -> int:
    """Make those accounts due that lacked a key, and whose every secret one of these keys sealed; return their number.

    Plans take them at their provider's rate, as any backlog. One that is paused, under way or due already stays as it is.
    """
    after, woken = "", 0
    asked = {"status": Status.MISCONFIGURED.value, "reason": str(KEY_MISSING), "batch": BATCH}
    while True:
        with reading(engine) as connection:
            rows = connection.execute(_WAITING, {**asked, "after": after}).all()
        if not rows:
            return woken
        after = rows[-1][0]
        opened = [
            {"id": account}
            for account, *values in rows
            if all(value is None or key_of(value) in key_ids for value in values)
        ]
        if opened:
            woken += _make_due(engine, opened)


def _make_due(engine: Engine, accounts: list[dict[str, str]]) -> int:
    now = now_sql(engine)
    statement = (
        f"UPDATE account SET next_refresh_at = {now}, plan_at = {now} FROM r WHERE account.id = r.id "
        f"AND account.status = '{Status.MISCONFIGURED.value}' AND account.reason = '{KEY_MISSING}' "
        f"AND account.plan_at > {now} AND account.claim_attempt IS NULL AND account.held_by IS NULL RETURNING account.id"
    )
    with writing(engine) as connection:
        return len(list(execute(connection, {"id": "text"}, statement, accounts)))
