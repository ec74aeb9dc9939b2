"""What an account's last calls came to, and which gate holds it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("account", sa.Column("failed_at", sa.Float(), nullable=True))
    op.add_column("account", sa.Column("succeeded_at", sa.Float(), nullable=True))
    op.add_column("account", sa.Column("held_by", sa.Text(), nullable=True))
