"""What the database says of the accounts, and the owner who consents again where a grant was lost."""

from __future__ import annotations

import threading
from typing import Final

from sqlalchemy import text

from benchmarks.chaos.losses import Losses
from models.tables.account import Status, fingerprint
from models.token import Secret
from tests.support.providers.grants import Call, access_token, refresh_token
from tests.support.world import World
from worker.db.engine import database_now, reading, writing
from worker.errors import DatabaseUnreachable

LOOK_EVERY_S: Final = 1.0

_CONSENT: Final = """
UPDATE account SET access_token_sealed = :access, refresh_token_sealed = :refresh, refresh_fp = :fp,
 issued_at = :now, expires_at = :ends, generation = generation + 1, config_version = config_version + 1,
 next_refresh_at = :now, plan_at = :now, status = 'active', reason = NULL, status_at = :now, failures = 0,
 claim_attempt = NULL, claim_until = NULL
WHERE id = :id
"""


class Records:
    """Looks at every account each second, in a thread of its own, from `start` to `stop`."""

    def __init__(self, world: World, losses: Losses) -> None:
        self._world = world
        self._losses = losses
        self._seen: dict[str, tuple[int, str | None]] = {}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="records")
        self.went_back: list[str] = []
        self.rewritten: list[str] = []

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()

    def holds(self, call: Call) -> bool:
        """Return whether the answer to a call is stored, in the row or as a stash.

        Raises:
            DatabaseUnreachable, RedisError: nobody can tell.
        """
        if call.granted is None:
            return False
        if self._world.stores.redis.exists(self._world.stores.keys.stash(call.account)):
            return True
        token = fingerprint(Secret(refresh_token(call.account, call.granted)))
        with reading(self._world.stores.engine) as connection:
            row = connection.execute(
                text("SELECT refresh_fp FROM account WHERE id = :id"), {"id": call.account}
            ).one()
        return bool(row[0] == token)

    def _run(self) -> None:
        while not self._stopped.wait(LOOK_EVERY_S):
            try:
                self._look()
            except DatabaseUnreachable:
                continue

    def _look(self) -> None:
        with reading(self._world.stores.engine) as connection:
            rows = connection.execute(
                text("SELECT id, generation, refresh_fp, status, reason FROM account")
            ).all()
        for account, generation, held, status, reason in rows:
            before, held_before = self._seen.get(account, (0, None))
            self._seen[account] = (generation, held)
            if generation < before:
                self.went_back.append(f"{account}: {before} became {generation}")
            elif generation == before and held != held_before:
                self.rewritten.append(f"{account}: generation {generation} holds another refresh token")
            grant = self._world.provider.grants[account]
            if status == Status.REAUTHORIZE:
                self._losses.grant_lost(grant, reason=str(reason))
                self._consent(account)
            elif account in self._losses.mourning and not grant.revoked and not grant.under_way:
                latest = fingerprint(Secret(refresh_token(account, grant.serial)))
                if held == latest and status == Status.ACTIVE:
                    self._losses.over(account)

    def _consent(self, account_id: str) -> None:
        """Store what a provider gives after a new consent."""
        world = self._world
        self._losses.mourning.add(account_id)
        serial = world.provider.grants[account_id].consent()
        access, refresh = Secret(access_token(account_id, serial)), Secret(refresh_token(account_id, serial))
        sealer = world.stores.sealer
        with writing(world.stores.engine) as connection:
            now = database_now(connection)
            connection.execute(
                text(_CONSENT),
                {
                    "id": account_id,
                    "access": sealer.seal(account_id, "access_token", access),
                    "refresh": sealer.seal(account_id, "refresh_token", refresh),
                    "fp": fingerprint(refresh),
                    "now": now,
                    "ends": now + world.provider.lifetime_s,
                },
            )
