"""The migrations make what the models say."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlmodel import SQLModel

import models.migrations
import models.tables.schema
from models.migrations import HEAD, REVISIONS
from tests.support.services import PostgresServer
from worker.db.engine import make_engine
from worker.db.migrate import upgrade


def is_ours(_object: Any, name: str | None, kind: str, reflected: bool, _other: Any) -> bool:
    """Leave out tables that benchmarks declare, where other tests have imported them."""
    classes = {mapper.local_table.description: mapper.class_ for mapper in SQLModel._sa_registry.mappers}
    return kind != "table" or reflected or classes[str(name)].__module__.startswith("models.")


def test_a_migrated_database_has_the_tables_and_indexes_of_the_models(database_url: str) -> None:
    engine = make_engine(database_url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"include_object": is_ours})
        differences = compare_metadata(context, SQLModel.metadata)
    engine.dispose()
    assert differences == []


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_two_upgrades_at_once_go_one_after_the_other(
    kind: str, postgres_service: PostgresServer, tmp_path: Path
) -> None:
    url = (
        f"sqlite:///{tmp_path / 'new.db'}" if kind == "sqlite" else postgres_service.create_database("of_two")
    )
    together = Barrier(2)

    def upgrade_it(_: int) -> tuple[str | None, str]:
        together.wait()
        return upgrade(url)

    with ThreadPoolExecutor(2) as threads:
        done = list(threads.map(upgrade_it, range(2)))
    if kind == "postgresql":
        postgres_service.drop_database("of_two")

    assert sorted(done, key=str) == sorted([(None, HEAD), (HEAD, HEAD)], key=str)


def test_the_order_of_the_files_is_that_of_the_revisions() -> None:
    scripts = ScriptDirectory(str(Path(models.migrations.__file__).parent))
    assert tuple(script.revision for script in scripts.walk_revisions())[::-1] == REVISIONS
