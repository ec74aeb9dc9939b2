"""A runtime that runs callbacks, and modules with callbacks for it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from models.callback import CallbackInput
from models.providers import Provider
from models.refresh_request import RefreshRequest
from models.tables.account import RefreshMethod
from models.token import Secret
from tests.integration.conftest import Bench
from worker.crypto.cipher import generate_key
from worker.settings import Settings

MODULES = Path(__file__).parent / "modules"
WILD = "wild_callbacks"


@pytest.fixture
def module_path(monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have callbacks imported from the folder of modules, as PYTHONPATH of a worker would."""
    monkeypatch.setattr(sys, "path", [*sys.path, str(MODULES)])
    return MODULES


@pytest.fixture
def settings(sqlite_url: str, redis_url: str, tmp_path: Path) -> Settings:
    """Return settings of a worker that knows the wild callbacks."""
    return Settings(
        database_url=SecretStr(sqlite_url),
        redis_url=SecretStr(redis_url),
        keys=SecretStr(generate_key()),
        data_dir=tmp_path,
        callback_modules=(WILD,),
    )


@pytest.fixture
def bench(settings: Settings, module_path: Path) -> Iterator[Bench]:  # noqa: ARG001
    made = Bench(settings, runs_callbacks=True)
    yield made
    made.runtime.close()


@pytest.fixture
def request_of_acme() -> RefreshRequest:
    """Everything that a callback may be given."""
    return RefreshRequest(
        account_id="acct",
        provider=Provider(name="acme", token_url="https://provider.example/token"),
        refresh_method=RefreshMethod.CALLBACK,
        callback="acme",
        client_id="client",
        client_secret=Secret("client-secret"),
        access_token=Secret("old-access"),
        refresh_token=Secret("old-refresh"),
        custom_fields={"subdomain": Secret("eu"), "password": Secret('p/ss "word"')},
    )


@pytest.fixture
def inputs() -> CallbackInput:
    return CallbackInput(account_id="acct", access_token="old-access", refresh_token="old-refresh")
