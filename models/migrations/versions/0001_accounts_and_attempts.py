"""Accounts, their execution history, and the fleet's duties."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "account",
        sa.Column("id", sa.String(128), nullable=False),
        sa.Column("provider", sa.String(), nullable=False),
        sa.Column("client_id", sa.String(), nullable=True),
        sa.Column("client_secret_sealed", sa.String(), nullable=True),
        sa.Column("client_auth", sa.String(), nullable=True),
        sa.Column("token_url", sa.String(), nullable=True),
        sa.Column("server_url", sa.String(), nullable=True),
        sa.Column("refresh_enabled", sa.Boolean(), nullable=False),
        sa.Column("refresh_method", sa.String(), nullable=False),
        sa.Column("callback", sa.String(), nullable=True),
        sa.Column("session_management", sa.String(), nullable=False),
        sa.Column("session_timeout_s", sa.Float(), nullable=False),
        sa.Column("custom_fields_sealed", sa.String(), nullable=True),
        sa.Column("knobs", sa.Text(), nullable=False),
        sa.Column("access_token_sealed", sa.String(), nullable=True),
        sa.Column("refresh_token_sealed", sa.String(), nullable=True),
        sa.Column("refresh_fp", sa.String(), nullable=True),
        sa.Column("token_type", sa.String(), nullable=False),
        sa.Column("scope", sa.String(), nullable=True),
        sa.Column("issued_at", sa.Float(), nullable=True),
        sa.Column("expires_at", sa.Float(), nullable=True),
        sa.Column("refresh_token_expires_at", sa.Float(), nullable=True),
        sa.Column("extra", sa.Text(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("published_generation", sa.Integer(), nullable=False),
        sa.Column("config_version", sa.Integer(), nullable=False),
        sa.Column("jitter", sa.Float(), nullable=False),
        sa.Column("next_refresh_at", sa.Float(), nullable=True),
        sa.Column("due_reason", sa.String(), nullable=False),
        sa.Column("plan_at", sa.Float(), nullable=True),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=True),
        sa.Column("status_at", sa.Float(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("claim_attempt", sa.String(), nullable=True),
        sa.Column("claim_until", sa.Float(), nullable=True),
        sa.Column("kept_sealed", sa.Text(), nullable=True),
        sa.Column("source_fp", sa.String(), nullable=True),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_account_expires_at", "account", ["expires_at"], unique=False)
    op.create_index(
        "ix_account_plan_at",
        "account",
        ["plan_at"],
        unique=False,
        sqlite_where=sa.text("plan_at IS NOT NULL"),
        postgresql_where=sa.text("plan_at IS NOT NULL"),
    )
    op.create_index(
        "ix_account_next_refresh_at",
        "account",
        ["next_refresh_at"],
        unique=False,
        sqlite_where=sa.text("next_refresh_at IS NOT NULL"),
        postgresql_where=sa.text("next_refresh_at IS NOT NULL"),
    )
    op.create_index("ix_account_status_provider", "account", ["status", "provider"], unique=False)
    op.create_index(
        "ix_account_callback",
        "account",
        ["callback"],
        unique=False,
        sqlite_where=sa.text("refresh_method = 'callback'"),
        postgresql_where=sa.text("refresh_method = 'callback'"),
    )
    op.create_index(
        "ix_account_unpublished",
        "account",
        ["id"],
        unique=False,
        sqlite_where=sa.text("published_generation < generation"),
        postgresql_where=sa.text("published_generation < generation"),
    )
    op.create_table(
        "attempt",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("account_id", sa.String(), nullable=False),
        sa.Column("trigger", sa.String(), nullable=False),
        sa.Column("opened_at", sa.Float(), nullable=False),
        sa.Column("closed_at", sa.Float(), nullable=True),
        sa.Column("claim_until", sa.Float(), nullable=True),
        sa.Column("worker", sa.String(), nullable=True),
        sa.Column("task_id", sa.String(), nullable=True),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("generation_after", sa.Integer(), nullable=True),
        sa.Column("config_version", sa.Integer(), nullable=False),
        sa.Column("refresh_fp", sa.String(), nullable=True),
        sa.Column("received_fp", sa.String(), nullable=True),
        sa.Column("outcome", sa.String(), nullable=True),
        sa.Column("reason", sa.String(), nullable=True),
        sa.Column("http_status", sa.Integer(), nullable=True),
        sa.Column("error", sa.String(), nullable=True),
        sa.Column("error_description", sa.Text(), nullable=True),
        sa.Column("provider_request_id", sa.String(), nullable=True),
        sa.Column("request", sa.String(), nullable=True),
        sa.Column("output", sa.Text(), nullable=True),
        sa.Column("scope_lost", sa.String(), nullable=True),
        sa.Column("lock_wait_ms", sa.Float(), nullable=True),
        sa.Column("latency_ms", sa.Float(), nullable=True),
        sa.Column("next_refresh_at", sa.Float(), nullable=True),
        sa.Column("repeats", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_attempt_account_opened", "attempt", ["account_id", "opened_at"], unique=False)
    op.create_index("ix_attempt_opened_at", "attempt", ["opened_at"], unique=False)
    op.create_table(
        "duty",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("holder", sa.String(), nullable=True),
        sa.Column("until", sa.Float(), nullable=False),
        sa.Column("finished_at", sa.Float(), nullable=True),
        sa.Column("note", sa.String(), nullable=True),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "retired_account",
        sa.Column("id", sa.String(128), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
