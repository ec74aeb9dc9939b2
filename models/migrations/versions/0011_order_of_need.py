"""Indexes by which plans find what Redis lacks and what is due without reading what is neither."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_UNPUBLISHED = "published_generation < generation"
_PLANNED = "plan_at IS NOT NULL"


def upgrade() -> None:
    # In the order in which it is read: one of ids alone was passed over for a walk along all ends.
    op.drop_index("ix_account_unpublished", table_name="account")
    op.create_index(
        "ix_account_unpublished",
        "account",
        ["expires_at", "id"],
        unique=False,
        sqlite_where=sa.text(_UNPUBLISHED),
        postgresql_where=sa.text(_UNPUBLISHED),
    )
    # A plan sorts all that is due by its end; with these columns it need not look into the table for each.
    op.drop_index("ix_account_plan_at", table_name="account")
    op.create_index(
        "ix_account_plan_at",
        "account",
        ["plan_at", "expires_at", "refresh_method", "id"],
        unique=False,
        sqlite_where=sa.text(_PLANNED),
        postgresql_where=sa.text(_PLANNED),
    )
