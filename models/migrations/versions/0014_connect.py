"""Connect sessions."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "connect_session",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("account", sa.String(128), nullable=False),
        sa.Column("provider", sa.String(), nullable=False),
        sa.Column("client", sa.String(128), nullable=False),
        sa.Column("scope", sa.String(), nullable=True),
        sa.Column("labels", sa.Text(), nullable=False),
        sa.Column("key_labels", sa.Text(), nullable=False),
        sa.Column("custom_fields_sealed", sa.Text(), nullable=True),
        sa.Column("return_url", sa.Text(), nullable=False),
        sa.Column("redirect_uri", sa.Text(), nullable=False),
        sa.Column("page", sa.Text(), nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=True),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.Column("outcome", sa.String(), nullable=True),
        sa.Column("generation", sa.Integer(), nullable=True),
        sa.Column("state_hash", sa.String(), nullable=True),
        sa.Column("browser_hash", sa.String(), nullable=True),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("expires_at", sa.Float(), nullable=False),
        sa.Column("ends_at", sa.Float(), nullable=False),
        sa.Column("started_at", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_connect_session_state", "connect_session", ["state_hash"], unique=True)
    op.create_index("ix_connect_session_ends_at", "connect_session", ["ends_at"], unique=False)
