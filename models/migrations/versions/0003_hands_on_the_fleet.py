"""Pauses, the audit trail, and indexes by which the fleet is seen at a glance."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_ASIDE = "plan_at IS NULL AND next_refresh_at IS NOT NULL"


def upgrade() -> None:
    op.create_table(
        "pause",
        sa.Column("scope", sa.String(), nullable=False),
        sa.Column("name", sa.String(128), nullable=False),
        sa.Column("paused_at", sa.Float(), nullable=False),
        sa.Column("until", sa.Float(), nullable=True),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("host", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("resumed", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("scope", "name"),
    )
    op.create_table(
        "audit",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("host", sa.String(), nullable=False),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("account_id", sa.String(), nullable=True),
        sa.Column("provider", sa.String(), nullable=True),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_audit_account_at", "audit", ["account_id", "at"], unique=False)
    op.create_index("ix_audit_at", "audit", ["at"], unique=False)
    # Accounts that a pause has set aside: none where nothing is paused, so that a refresh writes nothing here.
    op.create_index(
        "ix_account_aside",
        "account",
        ["provider", "next_refresh_at", "expires_at"],
        unique=False,
        sqlite_where=sa.text(_ASIDE),
        postgresql_where=sa.text(_ASIDE),
    )
