"""Refresh tokens that end for good are found by an index."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(
        "ix_account_refresh_token_expires_at",
        "account",
        ["refresh_token_expires_at"],
        unique=False,
        sqlite_where=sa.text("refresh_token_expires_at IS NOT NULL"),
        postgresql_where=sa.text("refresh_token_expires_at IS NOT NULL"),
    )
