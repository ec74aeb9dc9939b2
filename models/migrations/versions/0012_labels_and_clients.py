"""Labels of accounts, and clients that accounts share."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_OF_A_CLIENT = "client IS NOT NULL"


def upgrade() -> None:
    # The defaults are the server's: a process of the release before names neither column.
    op.add_column("account", sa.Column("labels", sa.Text(), nullable=False, server_default="{}"))
    op.add_column("account", sa.Column("client", sa.String(128), nullable=True))
    op.add_column("outbox", sa.Column("labels", sa.Text(), nullable=False, server_default="{}"))
    op.create_index(
        "ix_account_client",
        "account",
        ["client", "id"],
        unique=False,
        sqlite_where=sa.text(_OF_A_CLIENT),
        postgresql_where=sa.text(_OF_A_CLIENT),
    )
    op.create_table(
        "account_label",
        sa.Column("account_id", sa.String(128), nullable=False),
        sa.Column("name", sa.String(128), nullable=False),
        sa.Column("value", sa.String(128), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "name"),
    )
    op.create_index("ix_account_label", "account_label", ["name", "value", "account_id"], unique=False)
    # Beside `pause`, not in it: a planner of the release before stops at a pause of a kind that it does not know.
    op.create_table(
        "label_pause",
        sa.Column("name", sa.String(128), nullable=False),
        sa.Column("value", sa.String(128), nullable=False),
        sa.Column("paused_at", sa.Float(), nullable=False),
        sa.Column("until", sa.Float(), nullable=True),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("host", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("resumed", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("name", "value"),
    )
    op.create_table(
        "client",
        sa.Column("name", sa.String(128), nullable=False),
        sa.Column("provider", sa.String(), nullable=False),
        sa.Column("client_id", sa.String(), nullable=True),
        sa.Column("client_secret_sealed", sa.Text(), nullable=True),
        sa.Column("client_auth", sa.String(), nullable=True),
        sa.Column("token_url", sa.String(), nullable=True),
        sa.Column("return_urls", sa.Text(), nullable=False),
        sa.Column("secret_expires_at", sa.Float(), nullable=True),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("changed_at", sa.Float(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("wake_after", sa.String(128), nullable=True),
        sa.Column("token_url_before", sa.String(), nullable=True),
        sa.Column("announced_end", sa.Float(), nullable=True),
        sa.Column("announced_days", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("name"),
    )
