"""Fixtures of other folders that these tests use too."""

from __future__ import annotations

from tests.integration.accounts.conftest import desk, sealer  # noqa: F401
