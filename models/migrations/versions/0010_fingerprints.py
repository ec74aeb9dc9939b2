"""Accounts that hold the same refresh token are found by its fingerprint, without reading every account."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for column in ("refresh_fp", "source_fp"):
        where = sa.text(f"{column} IS NOT NULL")
        op.create_index(
            f"ix_account_{column}",
            "account",
            [column],
            unique=False,
            sqlite_where=where,
            postgresql_where=where,
        )
