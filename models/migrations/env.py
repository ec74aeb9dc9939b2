"""Alembic's environment: `worker.db.migrate.upgrade` hands over its connection."""

from __future__ import annotations

from alembic import context
from sqlmodel import SQLModel

import models.account
import models.api_key
import models.attempt
import models.audit
import models.client
import models.connect_session
import models.indexes
import models.issuer
import models.label
import models.outbox
import models.pause  # noqa: F401  (they register their tables)

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=SQLModel.metadata,
    render_as_batch=True,
)
context.run_migrations()
