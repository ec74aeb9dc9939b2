"""The account: one grant held for one resource owner at one provider. Its transitions are in `models/account_state.py`."""

from __future__ import annotations

from sqlalchemy import Column, Float, Text
from sqlmodel import Field, SQLModel

from models.account_state import (
    DEFAULT_SESSION_TIMEOUT_S,
    HELD_LOOK_S,
    RECONFIGURED,
    SAME_END_S,
    TOKEN_ENDED,
    AccountState,
    RefreshMethod,
    SealedTokens,
    SessionManagement,
    Status,
    fingerprint,
    read_extra,
    write_extra,
)
from models.label import NO_LABELS

__all__ = [
    "HELD_LOOK_S",
    "RECONFIGURED",
    "SAME_END_S",
    "TOKEN_ENDED",
    "Account",
    "Duty",
    "RefreshMethod",
    "RetiredAccount",
    "SealedTokens",
    "SessionManagement",
    "Status",
    "fingerprint",
    "read_extra",
    "write_extra",
]


class Account(AccountState, SQLModel, table=True):
    """One row of `account`. Times are epoch seconds (UTC) of the database's clock.

    Columns that end in `_sealed` hold ciphertext bound to this account and column. `generation` counts token
    sets, `config_version` counts edits that a refresh depends on. `next_refresh_at` is what the policy says;
    `plan_at` is when the planner looks next: the same, or later while a dispatched message is on its way; None
    beside a `next_refresh_at` where a pause has set the account aside. Its indexes are in `models/tables/schema.py`.
    """

    __tablename__ = "account"

    id: str = Field(primary_key=True, max_length=128)
    provider: str
    client_id: str | None = None
    client_secret_sealed: str | None = None
    client_auth: str | None = None
    token_url: str | None = None
    server_url: str | None = None
    refresh_enabled: bool = True
    refresh_method: str = RefreshMethod.BODY
    callback: str | None = None
    session_management: str = SessionManagement.AUTO
    session_timeout_s: float = Field(default=DEFAULT_SESSION_TIMEOUT_S, sa_type=Float)
    #: JSON object name -> value, sealed as a whole: any of them may be a secret.
    custom_fields_sealed: str | None = None
    #: JSON object: provider options that this account overrides.
    knobs: str = Field(default="{}", sa_type=Text)

    access_token_sealed: str | None = None
    refresh_token_sealed: str | None = None
    refresh_fp: str | None = None
    token_type: str = "Bearer"
    scope: str | None = None
    issued_at: float | None = Field(default=None, sa_type=Float)
    expires_at: float | None = Field(default=None, sa_type=Float)
    refresh_token_expires_at: float | None = Field(default=None, sa_type=Float)
    #: The last refresh did not move the refresh token's end: only a new grant will.
    refresh_token_end_fixed: bool = False
    #: JSON object: what the provider returned for use beside the token.
    extra: str = Field(default="{}", sa_type=Text)

    generation: int = 0
    #: The generation that Redis has; -1: it lacks the token, -2: it lacks what became of the account since.
    published_generation: int = 0
    config_version: int = 1
    #: A fraction in [0, 1), drawn when a token is stored: spreads accounts that would come due together.
    jitter: float = Field(default=0.0, sa_type=Float)
    next_refresh_at: float | None = Field(default=None, sa_type=Float)
    due_reason: str = ""
    plan_at: float | None = Field(default=None, sa_type=Float)
    status: str = Status.ACTIVE
    reason: str | None = None
    status_at: float = Field(default=0.0, sa_type=Float)
    #: Failed refreshes in a row that count against this account.
    failures: int = 0
    #: When its last call failed; None: it succeeded, or there was none under this configuration.
    failed_at: float | None = Field(default=None, sa_type=Float)
    #: When its last successful call was; None: none yet, under this configuration.
    succeeded_at: float | None = Field(default=None, sa_type=Float)
    #: The gate that holds its next call: the name of an origin, or of a client at one.
    held_by: str | None = None

    #: The open attempt that holds this account, and the end of its hold.
    claim_attempt: str | None = None
    claim_until: float | None = Field(default=None, sa_type=Float)
    #: A success that lost the race for its generation: tried before anyone is asked to re-authorize.
    kept_sealed: str | None = Field(default=None, sa_column=Column(Text, nullable=True))
    #: Fingerprint of the refresh token of the file that was imported last.
    source_fp: str | None = None
    created_at: float = Field(default=0.0, sa_type=Float)
    #: JSON object name -> value; the table `account_label` has the same for filters.
    labels: str = Field(default=NO_LABELS, sa_column=Column(Text, nullable=False, server_default=NO_LABELS))
    #: The client (`models/tables/client.py`) whose id, secret and way of authentication it uses; None: its own.
    client: str | None = Field(default=None, max_length=128)


class RetiredAccount(SQLModel, table=True):
    """A generation that a removed account never had: the same id, added again, continues from there."""

    __tablename__ = "retired_account"

    id: str = Field(primary_key=True, max_length=128)
    generation: int


class Duty(SQLModel, table=True):
    """A fleet-wide job (`plan`, `reconcile`, `prune`): its holder, until when, and when it last ended."""

    __tablename__ = "duty"

    name: str = Field(primary_key=True)
    holder: str | None = None
    until: float = Field(default=0.0, sa_type=Float)
    finished_at: float | None = Field(default=None, sa_type=Float)
    #: What the job keeps between two runs.
    note: str | None = None
