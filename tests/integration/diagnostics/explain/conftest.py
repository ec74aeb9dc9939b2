"""An account on SQLite, and what `explain` makes of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.conftest import Bench
from tests.integration.diagnostics.explain.desk import AccountServices, settings_of
from worker.settings import Settings


@pytest.fixture
def settings(sqlite_url: str, redis_url: str, tmp_path: Path) -> Settings:
    return settings_of(sqlite_url, redis_url, tmp_path)


@pytest.fixture
def desk(bench: Bench, settings: Settings) -> AccountServices:
    return AccountServices(bench, settings)
