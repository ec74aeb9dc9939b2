"""The same runtime as in tests/path, on SQLite alone: what is counted does not depend on the database."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from worker.crypto.cipher import generate_key
from worker.settings import Settings


@pytest.fixture
def settings(sqlite_url: str, redis_url: str, tmp_path: Path) -> Settings:
    return Settings(
        database_url=SecretStr(sqlite_url),
        redis_url=SecretStr(redis_url),
        keys=SecretStr(generate_key()),
        data_dir=tmp_path,
    )
