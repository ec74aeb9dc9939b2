"""Fixtures of other folders that these tests use too."""

from __future__ import annotations

from tests.integration.callbacks.conftest import request_of_acme  # noqa: F401
