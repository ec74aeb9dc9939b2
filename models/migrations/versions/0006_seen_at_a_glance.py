"""Indexes by which the fleet is seen at a glance: what is due, by provider, and what fails, by reason."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_DUE = "next_refresh_at IS NOT NULL"
_FAILING = "status IN ('degraded', 'reauthorize', 'misconfigured')"


def upgrade() -> None:
    op.create_index(
        "ix_account_due",
        "account",
        ["next_refresh_at", "provider"],
        unique=False,
        sqlite_where=sa.text(_DUE),
        postgresql_where=sa.text(_DUE),
    )
    # The one above answers what this one did, without looking into the table for the provider.
    op.drop_index("ix_account_next_refresh_at", table_name="account")
    op.create_index(
        "ix_account_failing",
        "account",
        ["status", "provider", "reason"],
        unique=False,
        sqlite_where=sa.text(_FAILING),
        postgresql_where=sa.text(_FAILING),
    )
