"""All tables, and the partial indexes with the others of their tables: what Alembic compares with a database.

To describe a partial index SQLAlchemy loads the drivers of both databases, asynchronous ones too: an eighth of what a
short command costs. Migrations make them; a test compares these with a migrated database.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import Index, text
from sqlmodel import SQLModel

import models.tables.account
import models.tables.account_label
import models.tables.api_key
import models.tables.attempt
import models.tables.audit
import models.tables.client
import models.tables.connect_session
import models.tables.issuer
import models.tables.outbox
import models.tables.pause  # noqa: F401  (they register their tables)

_FAILING: Final = "status IN ('degraded', 'reauthorize', 'misconfigured')"


def _index(table: str, name: str, *columns: str, where: str | None = None) -> None:
    """Add an index to its table: of the rows that a condition names, or of all."""
    condition = None if where is None else text(where)
    partial: dict[str, Any] = (
        {} if condition is None else {"sqlite_where": condition, "postgresql_where": condition}
    )
    Index(name, *(SQLModel.metadata.tables[table].columns[column] for column in columns), **partial)


def _account(name: str, *columns: str, where: str | None = None) -> None:
    _index("account", f"ix_account_{name}", *columns, where=where)


# Covers the claim of a plan, which sorts all that is due by its end.
_account("plan_at", "plan_at", "expires_at", "refresh_method", "id", where="plan_at IS NOT NULL")
_account("due", "next_refresh_at", "provider", where="next_refresh_at IS NOT NULL")
_account("refresh_token_end", "refresh_token_expires_at", where="refresh_token_end_fixed")
_account("status_provider", "status", "provider")
_account("failing", "status", "provider", "reason", where=_FAILING)
_account("expires_at", "expires_at")
# Accounts that a pause has set aside: no plan reads them, and they have a due time. Empty where nothing is paused.
_account(
    "aside",
    "provider",
    "next_refresh_at",
    "expires_at",
    where="plan_at IS NULL AND next_refresh_at IS NOT NULL",
)
# Open claims on accounts that no plan looks at. Almost always empty: a planned account has its `plan_at`.
_account("unplanned_claim", "claim_until", where="claim_attempt IS NOT NULL AND plan_at IS NULL")
_account("unpublished", "expires_at", "id", where="published_generation < generation")
# Accounts that a gate holds (`worker/policy/gates.py`), soonest to end first, and those of them whose last call succeeded.
_account("held", "held_by", "expires_at", where="held_by IS NOT NULL")
_account("held_healthy", "held_by", "expires_at", where="held_by IS NOT NULL AND failed_at IS NULL")
# Accounts that hold the same refresh token, or were given it last.
_account("refresh_fp", "refresh_fp", where="refresh_fp IS NOT NULL")
_account("source_fp", "source_fp", where="source_fp IS NOT NULL")
_account("client", "client", "id", where="client IS NOT NULL")
_account("callback", "callback", where="refresh_method = 'callback'")

_index("webhook", "ix_webhook_next_at", "endpoint", "next_at", where="next_at IS NOT NULL")
_index("webhook", "ix_webhook_subject", "endpoint", "subject", "id", where="next_at IS NOT NULL")
_index("webhook", "ix_webhook_topic", "topic", "created_at")
_index("webhook", "ix_webhook_failed_at", "failed_at", where="failed_at IS NOT NULL")
_index("webhook", "ix_webhook_created_at", "created_at")
