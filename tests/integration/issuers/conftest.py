"""A client that is registered with a server of this process, and kept up there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import text

from models.tables.client import Client
from tests.integration.conftest import Bench
from tests.integration.connect.mcp_world import RESOURCE, McpWorld
from worker.db.engine import writing
from worker.intake.resources import Address, Redirect, prepare
from worker.intake.services import account_services, publisher_of

_DAY_S = 86_400.0


@pytest.fixture
def world(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> McpWorld:
    made = McpWorld()
    monkeypatch.setattr(bench.runtime, "document_client", made.documents)
    return made


@pytest.fixture
def registered(bench: Bench, world: McpWorld) -> Callable[..., Client]:
    """Register a client; returns it with what the server answered."""

    def register(**answered: Any) -> Client:
        world.registered |= answered
        runtime = bench.runtime
        with publisher_of(runtime) as publisher:
            services = account_services(runtime, publisher, runtime.actor)
            redirect = Redirect.to_api("https://api.example", "refreshd")
            found = prepare(services, Address(RESOURCE), client=None, redirect=redirect)
        aged(bench, "client", "changed_at", 60 * _DAY_S)
        return runtime.clients.find([found.client])[found.client]

    return register


def aged(bench: Bench, table: str, column: str, seconds: float) -> None:
    with writing(bench.runtime.engine) as connection:
        connection.execute(text(f"UPDATE {table} SET {column} = {column} - :s"), {"s": seconds})  # noqa: S608
