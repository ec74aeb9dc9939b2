"""The API on real stores. Its requests to workers are carried out in this process, past the broker."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from pydantic import SecretStr

from models.tables.account import RefreshMethod
from models.tables.api_key import ApiScope, Credential
from models.tables.audit import Actor
from tests.integration.conftest import Bench
from worker.api.application import make_app
from worker.api.auth import Caller
from worker.api.context import ApiContext
from worker.db.intake.api_keys import ApiKeys
from worker.intake import account_ops, bulk_ops, grant_ops  # noqa: F401  (their ops are known once imported)
from worker.intake.carry_out import WorkerTools
from worker.intake.client import IntakeClient
from worker.intake.inbox import answer
from worker.settings import Settings
from worker.settings.api import ApiSettings

ALL = tuple(ApiScope)


class Desk:
    """The API, keys for it, and the worker behind it."""

    def __init__(
        self,
        bench: Bench,
        tmp_path: Path,
        *,
        database_url: str | None = None,
        redis_url: str | None = None,
        **api: Any,
    ) -> None:
        self.bench = bench
        settings = bench.runtime.settings
        self.settings = Settings(
            database_url=SecretStr(database_url) if database_url else settings.database_url,
            redis_url=SecretStr(redis_url) if redis_url else settings.redis_url,
            intake_key=SecretStr(bench.runtime.cipher.intake_key),
            data_dir=tmp_path / "api",
        )
        self.context = ApiContext(self.settings, ApiSettings(**{"tokens": True, **api}))
        self.app: FastAPI = make_app(self.context)
        self.transport = httpx.ASGITransport(self.app, raise_app_exceptions=True)
        # The bench's own client, whose wire is a function.
        client: Any = bench.runtime.callers[RefreshMethod.BODY]
        tools = WorkerTools(
            stores=bench.runtime,
            run=bench.runtime.run,
            client=client,
            redis=bench.runtime.async_redis,
            threads=bench.runtime.provider_threads,
        )
        self.context.workers = IntakeClient(
            redis=self.context.reply_redis,
            prefix=self.settings.redis_prefix,
            sealer=self.context.intake_sealer,
            send=lambda sealed, request_id: void(answer(tools, sealed, request_id)),
        )
        self._names = 0

    def key(
        self,
        *scopes: ApiScope,
        labels: Mapping[str, str] | None = None,
        expires_s: float | None = None,
        name: str | None = None,
    ) -> str:
        """Make a key; all scopes where none is named."""
        self._names += 1
        _, made = ApiKeys(self.bench.runtime.engine).create(
            name or f"key-{self._names}",
            scopes=scopes or ALL,
            labels=labels or {},
            expires_s=expires_s,
            actor=Actor("test", "test"),
        )
        return made.to_text()

    def caller(self, *scopes: ApiScope, **key: Any) -> Caller:
        """Return who asks with a key of their own, as a route gets it."""
        sent = Credential.parse(self.key(*scopes, **key))
        assert sent is not None
        made = ApiKeys(self.bench.runtime.engine).find(sent.id)
        assert made is not None
        return Caller(made.id, made.name, made.scope_set, made.label_set, sent)

    def client(self, *scopes: ApiScope, **key: Any) -> httpx.AsyncClient:
        """Return a client with a key of its own."""
        headers = {"Authorization": f"Bearer {self.key(*scopes, **key)}"}
        return httpx.AsyncClient(transport=self.transport, base_url="http://api", headers=headers)

    def stranger(self) -> httpx.AsyncClient:
        """Return a client without a key."""
        return httpx.AsyncClient(transport=self.transport, base_url="http://api")


def void(_: object) -> None:
    """Return nothing."""


@pytest.fixture
def bench(settings: Settings) -> Iterator[Bench]:
    made = Bench(settings)
    yield made
    made.runtime.close()


@pytest.fixture
async def desk(bench: Bench, tmp_path: Path) -> AsyncIterator[Desk]:
    made = Desk(bench, tmp_path)
    yield made
    await made.context.aclose()


@pytest.fixture
async def make_desk(bench: Bench, tmp_path: Path) -> AsyncIterator[Callable[..., Desk]]:
    made: list[Desk] = []

    def make(**api: Any) -> Desk:
        made.append(Desk(bench, tmp_path, **api))
        return made[-1]

    yield make
    for one in made:
        await one.context.aclose()
