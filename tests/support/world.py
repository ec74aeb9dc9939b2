"""One deployment as a test sees it: accounts in a database, what Redis shows, what the provider counted."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from celery import Celery
from pydantic import SecretStr
from sqlmodel import Session, col, select

from models.tables.account import Account, fingerprint
from models.tables.attempt import Attempt
from models.token import Secret
from refreshd_reader.contract import Token
from tests.support.providers.grants import access_token, refresh_token
from tests.support.providers.scripted_provider import ScriptedProvider
from tests.support.waiting import wait_until
from worker.broker.kombu import broker_url, transport_options
from worker.context import AppContext
from worker.crypto.cipher import generate_key
from worker.db.engine import database_now, writing
from worker.settings import Settings

PLAN_EVERY_S: Final = 1.0


class World:
    """Stores, and a provider, that a fleet works on."""

    def __init__(
        self, database_url: str, redis_url: str, folder: Path, provider: ScriptedProvider, **settings: str
    ) -> None:
        self.provider = provider
        self.environment = {
            "REFRESHD_DATABASE_URL": database_url,
            "REFRESHD_REDIS_URL": redis_url,
            "REFRESHD_DATA_DIR": str(folder),
            "REFRESHD_KEYS": generate_key(),
            "REFRESHD_ALLOW_HTTP_HOSTS": "127.0.0.1",
            **{f"REFRESHD_{name.upper()}": value for name, value in settings.items()},
        }
        broker = settings.get("broker_url")
        self.stores = AppContext(
            Settings(
                database_url=SecretStr(database_url),
                redis_url=SecretStr(redis_url),
                broker_url=None if broker is None else SecretStr(broker),
                keys=SecretStr(self.environment["REFRESHD_KEYS"]),
                data_dir=folder,
            )
        )
        self._broker = Celery("tests", broker=broker_url(broker or redis_url))
        self._broker.conf.broker_transport_options = transport_options(broker or redis_url)

    def close(self) -> None:
        self._broker.close()
        self.stores.close()

    def add(self, ids: Sequence[str], *, grace_s: float | None = None, **fields: Any) -> None:
        """Return accounts a grant and store them, due now unless `fields` say otherwise."""
        self.provider.grant(ids, grace_s=grace_s)
        sealer = self.stores.sealer
        with writing(self.stores.engine) as connection, Session(connection) as session:
            now = database_now(connection)
            for account in ids:
                refresh, access = Secret(refresh_token(account, 0)), Secret(access_token(account, 0))
                session.add(
                    Account(
                        **{
                            "id": account,
                            "provider": "scripted",
                            "client_id": "client",
                            "client_secret_sealed": sealer.seal(account, "client_secret", Secret("secret")),
                            "token_url": self.provider.token_url,
                            "access_token_sealed": sealer.seal(account, "access_token", access),
                            "refresh_token_sealed": sealer.seal(account, "refresh_token", refresh),
                            "refresh_fp": fingerprint(refresh),
                            "issued_at": now,
                            "expires_at": now + 3600,
                            "generation": 1,
                            "next_refresh_at": now,
                            "plan_at": now,
                            **fields,
                        }
                    )
                )
            session.flush()

    def push(
        self, pairs: Sequence[tuple[str, int]], *, reason: str = "forced", queue: str = "urgent"
    ) -> None:
        """Send one refresh message by hand."""
        self.send("refreshd.refresh", {"accounts": [list(pair) for pair in pairs], "reason": reason}, queue)

    def send(self, task: str, arguments: dict[str, Any], queue: str) -> None:
        self._broker.send_task(task, kwargs=arguments, queue=queue)

    def plan(self) -> None:
        """Ask for one plan, as beat does each second."""
        self.send("refreshd.plan", {}, "control")

    def plan_until(self, condition: Callable[[], bool], what: str) -> None:
        """Ask for plans until a condition holds: one plan passes over rows that another transaction has locked."""
        planned_at = 0.0

        def after_a_plan() -> bool:
            nonlocal planned_at
            if time.monotonic() >= planned_at + PLAN_EVERY_S:
                planned_at = time.monotonic()
                self.plan()
            return condition()

        wait_until(after_a_plan, what)

    def accounts(self) -> dict[str, Account]:
        with Session(self.stores.engine, expire_on_commit=False) as session:
            return {account.id: account for account in session.exec(select(Account))}

    def account(self, account_id: str) -> Account:
        with Session(self.stores.engine, expire_on_commit=False) as session:
            return session.exec(select(Account).where(Account.id == account_id)).one()

    def generations(self, ids: Iterable[str] | None = None) -> dict[str, int]:
        # Of plain columns: this is what most tests wait for, twenty times a second.
        with Session(self.stores.engine) as session:
            found = dict(session.exec(select(Account.id, Account.generation)).all())
        return found if ids is None else {account: found[account] for account in ids}

    def attempts(self, account_id: str) -> list[Attempt]:
        """Return an account's history, oldest first."""
        with Session(self.stores.engine, expire_on_commit=False) as session:
            statement = select(Attempt).where(Attempt.account_id == account_id).order_by(col(Attempt.id))
            return list(session.exec(statement))

    def held(self, account_id: str) -> str:
        """Return the refresh token that is stored."""
        opened = self.stores.sealer.open(self.account(account_id), "refresh_token")
        assert opened is not None
        return opened.reveal()

    def token(self, account_id: str) -> Token | None:
        """Return what a connector reads."""
        payload = self.stores.redis.hgetall(self.stores.keys.token(account_id))
        return Token.from_hash({str(k): str(v) for k, v in payload.items()}) if payload else None

    def is_published(self, account_id: str) -> bool:
        """Return whether a connector finds the generation that is stored."""
        token = self.token(account_id)
        return token is not None and token.generation == self.account(account_id).generation

    def all_refreshed(self, ids: Iterable[str], *, beyond: int = 1) -> bool:
        """Return whether each account has a generation after `beyond`."""
        return all(generation > beyond for generation in self.generations(ids).values())

    def agrees_with_the_provider(self, account_id: str) -> bool:
        """Return whether the stored refresh token is the one that the provider takes next."""
        return self.held(account_id) == refresh_token(account_id, self.provider.grants[account_id].serial)
