"""Which refresh tokens have an end that no refresh moves."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "account",
        # The release before writes accounts without it.
        sa.Column("refresh_token_end_fixed", sa.Boolean(), nullable=False, server_default=sa.false()),
    )
    where = sa.text("refresh_token_end_fixed")
    op.create_index(
        "ix_account_refresh_token_end",
        "account",
        ["refresh_token_expires_at"],
        unique=False,
        sqlite_where=where,
        postgresql_where=where,
    )
