"""What is to be told to webhooks, and what was told already."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "outbox",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("type", sa.String(), nullable=False),
        sa.Column("account", sa.String(), nullable=True),
        sa.Column("provider", sa.String(), nullable=False),
        sa.Column("client", sa.String(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=True),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("ends_at", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_outbox_topic", "outbox", ["type", "provider", "client"], unique=False)
    op.create_table(
        "webhook",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("endpoint", sa.String(), nullable=False),
        sa.Column("type", sa.String(), nullable=False),
        sa.Column("topic", sa.String(), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("happenings", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_at", sa.Float(), nullable=True),
        sa.Column("delivered_at", sa.Float(), nullable=True),
        sa.Column("failed_at", sa.Float(), nullable=True),
        sa.Column("http_status", sa.Integer(), nullable=True),
        sa.Column("error", sa.String(), nullable=True),
        sa.PrimaryKeyConstraint("id", "endpoint"),
    )
    waiting, failed = sa.text("next_at IS NOT NULL"), sa.text("failed_at IS NOT NULL")
    for name, columns, where in (
        ("ix_webhook_next_at", ["endpoint", "next_at"], waiting),
        ("ix_webhook_subject", ["endpoint", "subject", "id"], waiting),
        ("ix_webhook_failed_at", ["failed_at"], failed),
    ):
        op.create_index(name, "webhook", columns, unique=False, sqlite_where=where, postgresql_where=where)
    op.create_index("ix_webhook_topic", "webhook", ["topic", "created_at"], unique=False)
    op.create_index("ix_webhook_created_at", "webhook", ["created_at"], unique=False)
    op.create_table(
        "outage",
        sa.Column("breaker", sa.String(), nullable=False),
        sa.Column("provider", sa.String(), nullable=False),
        sa.Column("client", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("since", sa.Float(), nullable=False),
        sa.Column("told_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("breaker"),
    )
    op.create_table(
        "announced_end",
        sa.Column("account", sa.String(128), nullable=False),
        sa.Column("ends_at", sa.Float(), nullable=False),
        sa.Column("days", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("account"),
    )
