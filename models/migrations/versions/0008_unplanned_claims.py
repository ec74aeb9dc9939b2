"""Attempts that were left open on accounts that no plan looks at are found by an index, not by reading every account."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_WHERE = "claim_attempt IS NOT NULL AND plan_at IS NULL"


def upgrade() -> None:
    op.create_index(
        "ix_account_unplanned_claim",
        "account",
        ["claim_until"],
        unique=False,
        sqlite_where=sa.text(_WHERE),
        postgresql_where=sa.text(_WHERE),
    )
