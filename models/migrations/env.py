"""Alembic's environment: `worker.db.migrate.upgrade` hands over its connection."""

from __future__ import annotations

from alembic import context
from sqlmodel import SQLModel

import models.tables.schema  # noqa: F401  (it registers every table)

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=SQLModel.metadata,
    render_as_batch=True,
)
context.run_migrations()
