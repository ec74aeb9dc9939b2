"""The index of all refresh tokens' ends goes: the one of fixed ends answers what is asked, and costs no write a refresh."""

from __future__ import annotations

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_index("ix_account_refresh_token_expires_at", table_name="account")
