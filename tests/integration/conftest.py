"""A whole process' runtime on real stores; only the wire is scripted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from sqlmodel import Session

from models.tables.account import Account, RefreshMethod, fingerprint
from models.tables.attempt import Trigger
from models.tables.client import Client
from models.token import Secret
from refreshd_reader.contract import AccountState, Token
from worker.crypto.cipher import generate_key
from worker.db.accounts import labels
from worker.db.engine import database_now, writing
from worker.providers.client import ProviderClient
from worker.refresh.attempt import Origin, Result
from worker.runtime import Runtime
from worker.settings import Settings

Handler = Callable[[httpx.Request], httpx.Response]
#: A busy machine makes no call a slow one; those that hang set a time of their own.
NEVER_SLOW_S = 300.0


class Bench:
    """A runtime whose provider is a function, and what a test looks at."""

    def __init__(self, settings: Settings, *, runs_callbacks: bool = False) -> None:
        self.runtime = Runtime(settings, worker="test", callback_runs=int(runs_callbacks))
        self.runtime.refresher._slow_call_s = NEVER_SLOW_S
        self.requests: list[httpx.Request] = []
        self.answer: Handler = lambda _: httpx.Response(500)
        client = ProviderClient(transport=httpx.MockTransport(self._handle))
        for method in (RefreshMethod.BODY, RefreshMethod.URL_QUERY):
            self.runtime.callers[method] = client

    def _handle(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return self.answer(request)

    def add(self, account_id: str = "acct", **fields: Any) -> Account:
        """Store an account that is due, with tokens `old-access` and `old-refresh`."""
        sealer = self.runtime.sealer
        with (
            writing(self.runtime.engine) as connection,
            Session(connection, expire_on_commit=False) as session,
        ):
            now = database_now(connection)
            refresh_token = Secret(fields.pop("refresh_token", "old-refresh"))
            account = Account(
                **{
                    "id": account_id,
                    "provider": "acme",
                    "client_id": "client",
                    "client_secret_sealed": sealer.seal(account_id, "client_secret", Secret("client-secret")),
                    "token_url": "https://provider.example/token",
                    "access_token_sealed": sealer.seal(account_id, "access_token", Secret("old-access")),
                    "refresh_token_sealed": sealer.seal(account_id, "refresh_token", refresh_token),
                    "refresh_fp": fingerprint(refresh_token),
                    "issued_at": now - 3600,
                    "expires_at": now + 60,
                    "generation": 1,
                    "next_refresh_at": now - 1,
                    "plan_at": now - 1,
                    **fields,
                }
            )
            session.add(account)
            session.flush()
            labels.write(connection, [account])
        return account

    def add_client(self, name: str = "crm", **fields: Any) -> None:
        """Store a client with the secret `clients-secret`, whose id is its name behind `id-of-`."""
        sealed = self.runtime.sealer.seal_client_secret(name, Secret("clients-secret"))
        columns = {
            "provider": "acme",
            "token_url": "https://provider.example/token",
            "client_id": f"id-of-{name}",
            "client_secret_sealed": sealed,
            **fields,
        }
        assert self.runtime.clients.save(Client(name=name, **columns), seen=None)

    def seal(self, account: str, field: str, text: str) -> str | None:
        return self.runtime.sealer.seal(account, field, Secret(text))

    def refresh(self, *ids: str, seen: int = 1, trigger: Trigger = Trigger.PLANNED) -> dict[str, Result]:
        return self.begin_refresh(*ids, seen=seen, trigger=trigger).result()

    def begin_refresh(
        self, *ids: str, seen: int = 1, trigger: Trigger = Trigger.PLANNED
    ) -> Future[dict[str, Result]]:
        pairs = [(i, seen) for i in ids or ("acct",)]
        refreshing = self.runtime.refresher.refresh(pairs, Origin(trigger, task_id="task"))
        return asyncio.run_coroutine_threadsafe(refreshing, self.runtime.loop)

    def account(self, account_id: str = "acct") -> Account:
        with Session(self.runtime.engine) as session:
            found = session.get(Account, account_id)
            assert found is not None
            session.expunge(found)
            return found

    def refresh_token(self, account_id: str = "acct") -> str | None:
        """Return the refresh token that the row holds."""
        opened = self.runtime.sealer.open(self.account(account_id), "refresh_token")
        return None if opened is None else opened.reveal()

    def token(self, account_id: str = "acct") -> Token | None:
        payload: Any = self.runtime.redis.hgetall(self.runtime.keys.token(account_id))
        return Token.from_hash(payload) if payload else None

    def state(self, account_id: str = "acct") -> AccountState | None:
        payload: Any = self.runtime.redis.hgetall(self.runtime.keys.account(account_id))
        return AccountState.from_hash(payload) if payload else None

    def events(self) -> list[tuple[str, str]]:
        entries: Any = self.runtime.redis.xrange(self.runtime.keys.events)
        return [(fields["type"], fields["reason"]) for _, fields in entries]


@pytest.fixture
def settings(database_url: str, redis_url: str, tmp_path: Path) -> Settings:
    return Settings(
        database_url=SecretStr(database_url),
        redis_url=SecretStr(redis_url),
        keys=SecretStr(generate_key()),
        data_dir=tmp_path,
    )


@pytest.fixture
def bench(settings: Settings) -> Iterator[Bench]:
    made = Bench(settings)
    yield made
    made.runtime.close()
