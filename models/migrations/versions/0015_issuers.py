"""Issuers' metadata, and clients that were registered with them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "issuer_metadata",
        sa.Column("issuer", sa.String(2048), nullable=False),
        sa.Column("document", sa.Text(), nullable=True),
        sa.Column("read_at", sa.Float(), nullable=True),
        sa.Column("asked_at", sa.Float(), nullable=False),
        sa.Column("failure", sa.String(), nullable=True),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("issuer"),
    )
    op.create_table(
        "client_registration",
        sa.Column("client", sa.String(128), nullable=False),
        sa.Column("issuer", sa.String(2048), nullable=False),
        sa.Column("redirect_uri", sa.Text(), nullable=False),
        sa.Column("registration_client_uri", sa.Text(), nullable=True),
        sa.Column("registration_access_token_sealed", sa.Text(), nullable=True),
        sa.Column("registered_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("client"),
    )
    op.add_column("client", sa.Column("issuer", sa.String(2048), nullable=True))
