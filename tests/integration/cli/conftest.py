"""Fixtures of other folders that these tests use too."""

from __future__ import annotations

from tests.integration.accounts.conftest import file, refreshd, stores, three  # noqa: F401
from tests.integration.db.conftest import engine  # noqa: F401
