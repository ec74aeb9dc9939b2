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
from sqlalchemy import text

from models.providers import Provider
from models.providers.presets import load_presets
from models.tables.account import Account, fingerprint
from models.token import Secret
from worker.accounts.apply import Applied, Applier, DueSpreader, Intent
from worker.accounts.entry import read_entry
from worker.accounts.validation import AccountValidator
from worker.cli import main
from worker.crypto.cipher import Cipher, generate_key, parse_keys
from worker.crypto.sealer import AccountSealer
from worker.db.accounts.stored import Accounts
from worker.db.engine import make_engine, writing
from worker.providers.registry import Providers
from worker.providers.request.builder import RequestBuilder

NOW = 1_790_000_000.0
KEY = generate_key()
ALLOWED_HTTP = "auth.intra.example"


@pytest.fixture(scope="session")
def presets() -> dict[str, Provider]:
    return dict(load_presets())


@pytest.fixture
def sealer() -> AccountSealer:
    return AccountSealer(Cipher(parse_keys(KEY)))


class AccountServices:
    """Applies rows to accounts, without a database."""

    def __init__(self, sealer: AccountSealer) -> None:
        self.sealer = sealer
        providers = Providers(None)
        checker = AccountValidator(
            known=providers.known,
            provider_of=providers.of,
            urls=RequestBuilder([ALLOWED_HTTP]),
        )
        self.applier = Applier(sealer=sealer, checker=checker, spread=DueSpreader(50))

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
        secret = self.sealer.open(account, name)
        return secret.reveal() if secret else None


@pytest.fixture
def desk(sealer: AccountSealer) -> AccountServices:
    return AccountServices(sealer)


def acme(account_id: str = "acme-1", /, **fields: object) -> dict[str, object]:
    """Return a row that is stored as it is; a field of None is left out."""
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
    """Point the commands at stores of this test alone; returns the Redis."""
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


@pytest.fixture
def rotate(database_url: str) -> Callable[..., None]:
    """Do what a worker does when a refresh succeeds."""

    def rotate(account_id: str, refresh_token: str, *, status: str = "active", note: bool = True) -> None:
        sealer, engine = AccountSealer(Cipher(parse_keys(KEY))), make_engine(database_url)
        with writing(engine) as connection:
            before = connection.execute(
                text("SELECT refresh_fp FROM account WHERE id = :id"), {"id": account_id}
            ).scalar()
            connection.execute(
                text(
                    "UPDATE account SET generation = generation + 1, refresh_token_sealed = :sealed, "
                    "refresh_fp = :fp, access_token_sealed = :access, status = :status WHERE id = :id"
                ),
                {
                    "sealed": sealer.seal(account_id, "refresh_token", Secret(refresh_token)),
                    "fp": fingerprint(Secret(refresh_token)),
                    "access": sealer.seal(account_id, "access_token", Secret(f"access of {refresh_token}")),
                    "status": status,
                    "id": account_id,
                },
            )
            if note:
                connection.execute(
                    text(
                        "INSERT INTO attempt (id, account_id, trigger, opened_at, generation, config_version, "
                        "refresh_fp, received_fp, repeats) VALUES (:id, :account, 'planned', 1, 1, 1, :sent, :got, 1)"
                    ),
                    {
                        "id": refresh_token,
                        "account": account_id,
                        "sent": before,
                        "got": fingerprint(Secret(refresh_token)),
                    },
                )
        engine.dispose()

    return rotate


@pytest.fixture
def refresh_token(database_url: str) -> Callable[[str], str | None]:
    """Return an account's stored refresh token."""

    def stored(account_id: str) -> str | None:
        engine = make_engine(database_url)
        account = Accounts(engine).find([account_id])[account_id]
        engine.dispose()
        secret = AccountSealer(Cipher(parse_keys(KEY))).open(account, "refresh_token")
        return secret.reveal() if secret else None

    return stored


@pytest.fixture
def three(refreshd: Refreshd, file: Callable[..., Path]) -> None:
    """Three accounts: one of each way to be refreshed, one of them disabled."""
    path = file(
        acme("a", issued_at=NOW, expires_in=10**8, scope="x"),
        acme("b", provider="other", refresh_method="url_query", refresh_enabled=False),
        acme(
            "c", refresh_method="callback", callback="mine", **{"custom_fields.key": "hush", "margin_s": 30}
        ),
    )
    assert refreshd("accounts", "import", str(path)).exit_code == 0
