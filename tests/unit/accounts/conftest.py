"""Fixtures of other folders that these tests use too."""

from __future__ import annotations

from tests.integration.accounts.conftest import desk, vault  # noqa: F401
