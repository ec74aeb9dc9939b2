"""The migrations make what the models say."""

from __future__ import annotations

from typing import Any

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlmodel import SQLModel

import worker.runtime  # noqa: F401  (brings every table in)
from worker.io.database import make_engine


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
