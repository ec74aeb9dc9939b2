"""Accounts as people give them, applied without a database; and the commands, on real stores."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis

from models.account import Account
from models.presets import load_presets
from models.provider import Provider
from worker.accounts.apply import Applied, Applier, Intent, Spread
from worker.accounts.check import Checker
from worker.accounts.entry import read_entry
from worker.cli import main
from worker.io.cipher import Cipher, generate_key, parse_keys
from worker.io.provider_request import RequestBuilder
from worker.io.vault import Vault
from worker.runtime import Providers

NOW = 1_790_000_000.0
KEY = generate_key()
ALLOWED_HTTP = "auth.intra.example"


@pytest.fixture(scope="session")
def presets() -> dict[str, Provider]:
    return dict(load_presets())


@pytest.fixture
def vault() -> Vault:
    return Vault(Cipher(parse_keys(KEY)))


class Desk:
    """Applies rows to accounts, without a database."""

    def __init__(self, vault: Vault) -> None:
        self.vault = vault
        providers = Providers(None)
        checker = Checker(
            known=providers.known,
            provider_of=providers.of,
            check_url=RequestBuilder([ALLOWED_HTTP]).check,
        )
        self.applier = Applier(vault=vault, checker=checker, spread=Spread(50))

    def add(self, row: dict[str, object], *, retired: int = 0, now: float = NOW) -> Applied:
        return self.applier.add(read_entry(row), retired=retired, now=now)

    def change(
        self,
        account: Account,
        row: dict[str, object],
        *,
        once_held: bool = False,
        intent: Intent = Intent.FILE,
        now: float = NOW + 60,
    ) -> Applied:
        entry = read_entry({"id": account.id, **row}, empty_takes_back=intent is Intent.PERSON)
        return self.applier.change(entry, account, once_held=once_held, intent=intent, now=now)

    def secret(self, account: Account, name: str) -> str | None:
        secret = self.vault.open(account, name)
        return secret.reveal() if secret else None


@pytest.fixture
def desk(vault: Vault) -> Desk:
    return Desk(vault)


def acme(account_id: str = "acme-1", /, **fields: object) -> dict[str, object]:
    """Give a row that is stored as it is; a field of None is left out."""
    row = {
        "id": account_id,
        "provider": "acme",
        "client_id": "client",
        "client_secret": "client-secret-text",
        "access_token": f"access-of-{account_id}",
        "refresh_token": f"refresh-of-{account_id}",
        "token_url": "https://auth.acme.example/token",
        **fields,
    }
    return {name: value for name, value in row.items() if value is not None}


@dataclass(frozen=True)
class Ran:
    """How one command ended."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        return json.loads(self.stdout)

    @property
    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.stdout.splitlines()]


Refreshd = Callable[..., Ran]


@pytest.fixture
def stores(database_url: str, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> redis.Redis:
    """Point the commands at stores of this test alone; gives the Redis."""
    for name, value in {
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "KEYS": KEY,
        "DATA_DIR": str(tmp_path / "data"),
    }.items():
        monkeypatch.setenv(f"REFRESHD_{name}", value)
    monkeypatch.chdir(tmp_path)
    return redis.Redis.from_url(redis_url, decode_responses=True)


@pytest.fixture
def refreshd(
    stores: redis.Redis, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Refreshd:
    """Run a command as its users do, and give its exit code and output."""
    assert stores.ping()

    def run(*words: str) -> Ran:
        monkeypatch.setattr(sys, "argv", ["refreshd", *words])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        output = capsys.readouterr()
        return Ran(int(ended.value.code or 0), output.out, output.err)

    return run


@pytest.fixture
def file(tmp_path: Path) -> Callable[..., Path]:
    """Write rows to a JSON Lines file; a text is written as it is."""

    def write(*rows: dict[str, object] | str, name: str = "accounts.jsonl") -> Path:
        path = tmp_path / name
        path.write_text("".join(one if isinstance(one, str) else json.dumps(one) + "\n" for one in rows))
        return path

    return write
