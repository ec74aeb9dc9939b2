"""The attempt: one entry of an account's execution history, and while it is open the claim on the account."""

from __future__ import annotations

from sqlalchemy import Column, Float, Index, Text
from sqlmodel import Field, SQLModel

from models.outcome import (
    INTERRUPTED,
    AttemptEntry,
    AttemptRow,
    Outcome,
    Trigger,
    new_attempt_id,
    new_attempt_ids,
)

__all__ = [
    "INTERRUPTED",
    "Attempt",
    "AttemptEntry",
    "Outcome",
    "Trigger",
    "new_attempt_id",
    "new_attempt_ids",
]


class Attempt(AttemptRow, SQLModel, table=True):
    """One row of `attempt`. Times are epoch seconds (UTC) of the database's clock, durations milliseconds.

    Fingerprints tell whether two refresh tokens are the same; no column ever holds a token.
    """

    __tablename__ = "attempt"
    __table_args__ = (
        Index("ix_attempt_account_opened", "account_id", "opened_at"),
        Index("ix_attempt_opened_at", "opened_at"),
    )

    id: str = Field(primary_key=True)
    account_id: str
    trigger: str
    opened_at: float = Field(sa_type=Float)
    closed_at: float | None = Field(default=None, sa_type=Float)
    claim_until: float | None = Field(default=None, sa_type=Float)
    worker: str | None = None
    task_id: str | None = None

    generation: int
    generation_after: int | None = None
    config_version: int
    refresh_fp: str | None = None
    received_fp: str | None = None

    outcome: str | None = None
    reason: str | None = None
    http_status: int | None = None
    error: str | None = None
    error_description: str | None = Field(default=None, sa_column=Column(Text, nullable=True))
    provider_request_id: str | None = None
    request: str | None = None
    output: str | None = Field(default=None, sa_column=Column(Text, nullable=True))
    #: Scopes that the grant had before this refresh and has no more.
    scope_lost: str | None = None
    lock_wait_ms: float | None = Field(default=None, sa_type=Float)
    latency_ms: float | None = Field(default=None, sa_type=Float)
    next_refresh_at: float | None = Field(default=None, sa_type=Float)
    #: How many equal entries are folded into this one.
    repeats: int = 1
