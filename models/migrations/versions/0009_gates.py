"""A gate knows healthy accounts from failing ones, and an account knows which gate holds it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_HELD = "held_by IS NOT NULL"
_HEALTHY = "held_by IS NOT NULL AND failed_at IS NULL"


def upgrade() -> None:
    op.add_column("account", sa.Column("failed_at", sa.Float(), nullable=True))
    op.add_column("account", sa.Column("succeeded_at", sa.Float(), nullable=True))
    op.add_column("account", sa.Column("held_by", sa.String(), nullable=True))
    # A generation above the first came from a refresh, or beside one: those accounts worked before.
    op.execute(
        "UPDATE account SET succeeded_at = coalesce(issued_at, 0) WHERE generation > 1 AND failures = 0"
    )
    for name, where in (("ix_account_held", _HELD), ("ix_account_held_healthy", _HEALTHY)):
        op.create_index(
            name,
            "account",
            ["held_by", "expires_at"],
            unique=False,
            sqlite_where=sa.text(where),
            postgresql_where=sa.text(where),
        )
