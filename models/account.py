"""The account: one grant held for one resource owner at one provider, and the ways its state may change."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from sqlalchemy import Column, Float, Text
from sqlmodel import Field, SQLModel

from models.label import NO_LABELS, read_labels
from models.token import Secret

DEFAULT_SESSION_TIMEOUT_S: Final = 900.0  # webMethods' default of 15 minutes
#: Two ends of a refresh token that are no further apart are the same one: a provider counts whole seconds, and from
#: the moment at which it answers.
SAME_END_S: Final = 60.0
#: The reason of an account whose configuration was edited after it had failed: nothing has failed since, or worked.
RECONFIGURED: Final = "reconfigured"
#: The reason of an account that was well until its token ended while it waited for its turn.
TOKEN_ENDED: Final = "token_ended"


class RefreshMethod(StrEnum):
    """How the refresh request is sent."""

    URL_QUERY = "url_query"
    BODY = "body"
    CALLBACK = "callback"


class SessionManagement(StrEnum):
    """What decides when a token is due: nothing, the operator's clock, or the provider's `expires_in`."""

    NONE = "none"
    FIXED = "fixed"
    AUTO = "auto"


class Status(StrEnum):
    """The status of an account, published in Redis beside the token."""

    ACTIVE = "active"
    DEGRADED = "degraded"
    REAUTHORIZE = "reauthorize"
    MISCONFIGURED = "misconfigured"
    DISABLED = "disabled"


#: Statuses whose end is an event (`recovered`).
TROUBLED: Final = frozenset({Status.DEGRADED, Status.REAUTHORIZE, Status.MISCONFIGURED})


@dataclass(frozen=True, slots=True)
class SealedTokens:
    """A token set as the row keeps it: every secret sealed, times in epoch seconds."""

    access_token_sealed: str | None
    refresh_token_sealed: str | None
    refresh_fp: str | None
    token_type: str
    scope: str | None
    issued_at: float | None
    expires_at: float | None
    refresh_token_expires_at: float | None
    extra: str


#: An account that a gate holds comes due after this long, should the gate's opening have been missed.
HELD_LOOK_S: Final = 600.0


class Account(SQLModel, table=True):
    """One row of `account`. Times are epoch seconds (UTC) of the database's clock.

    Columns that end in `_sealed` hold ciphertext bound to this account and column. `generation` counts token
    sets, `config_version` counts edits that a refresh depends on. `next_refresh_at` is what the policy says;
    `plan_at` is when the planner looks next: the same, or later while a dispatched message is on its way; None
    beside a `next_refresh_at` where a pause has set the account aside. Its indexes are in `models/indexes.py`.
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
    #: The client (`models/client.py`) whose id, secret and way of authentication it uses; None: its own.
    client: str | None = Field(default=None, max_length=128)

    def refreshed(
        self,
        tokens: SealedTokens,
        *,
        next_refresh_at: float | None,
        due_reason: str,
        jitter: float,
        now: float,
    ) -> None:
        """Store a new token set: the generation grows by one, failures end."""
        was, end = self.refresh_token_expires_at, tokens.refresh_token_expires_at
        self._set(
            **{name: getattr(tokens, name) for name in SealedTokens.__slots__},
            refresh_token_end_fixed=was is not None and end is not None and abs(end - was) <= SAME_END_S,
            generation=self.generation + 1,
            jitter=jitter,
            failures=0,
            failed_at=None,
            succeeded_at=now,
            held_by=None,
        )
        self.rescheduled(next_refresh_at, due_reason)
        self._become(Status.ACTIVE if self.refresh_enabled else Status.DISABLED, None, now)
        self._release()

    def caught_up(self, seen: int) -> None:
        """Continue from the generation that Redis has seen: the database lost the commits between."""
        self._set(generation=max(self.generation, seen))

    def refresh_token_replaced(self, tokens: SealedTokens) -> None:
        """Store a new refresh token that came without an access token: the generation grows by one, all else stays."""
        self._set(
            **{name: getattr(tokens, name) for name in SealedTokens.__slots__}, generation=self.generation + 1
        )

    def failed(
        self,
        *,
        status: Status,
        reason: str,
        retry_at: float | None,
        counts: bool,
        now: float,
        held_by: str | None = None,
    ) -> None:
        """Record a failed refresh: every credential stays, the next try is `retry_at` (None: not planned).

        With `held_by` it waits for that gate to open, and is looked at again after `HELD_LOOK_S` in any case.
        """
        self._set(failures=self.failures + counts, failed_at=now)
        self.rescheduled(retry_at, reason)
        if retry_at is not None:
            held_until = max(retry_at, now + HELD_LOOK_S)
            self._set(held_by=held_by, plan_at=held_until if held_by else retry_at)
        self._become(status, reason, now)
        self._release()

    def given_back(self, *, retry_at: float | None) -> None:
        """End an attempt that sent nothing: the status stays, the account is due again at `retry_at`.

        Not before it is due: a plan would send it for nothing, and have it wait for a message's time.
        """
        due_at = self.next_refresh_at
        self._set(plan_at=None if retry_at is None or due_at is None else max(retry_at, due_at))
        self._release()

    def awaits_grant(self, reason: str, *, now: float) -> None:
        """Record that the account's owner has not consented yet."""
        self.rescheduled(None, reason)
        self._become(Status.REAUTHORIZE, reason, now)

    def degraded(self, reason: str, *, now: float) -> None:
        """Record that the token ended while the account had to wait."""
        self._become(Status.DEGRADED, reason, now)

    def kept(self, sealed_answer: str) -> None:
        """Keep a success that lost the race for its generation."""
        self._set(kept_sealed=sealed_answer)

    def rescheduled(self, next_refresh_at: float | None, due_reason: str) -> None:
        """Set the due time and its reason."""
        self._set(next_refresh_at=next_refresh_at, plan_at=next_refresh_at, due_reason=due_reason)

    def reconfigured(self, *, now: float) -> None:
        """Record an edit that a refresh depends on: failures under the old configuration count no more."""
        self._set(config_version=self.config_version + 1, failures=0, failed_at=None, succeeded_at=None)
        if self.held_by is not None:
            self._set(held_by=None, plan_at=self.next_refresh_at)
        if self.refresh_enabled:
            self._become(Status.ACTIVE, RECONFIGURED if self.is_troubled else None, now)
        else:
            self._become(Status.DISABLED, None, now)

    def client_changed(self, *, now: float) -> None:
        """Record that the client which had stopped the account was changed: failures under the old one count no more.

        Its earlier successes count: an account that worked before is evidence against a client that fails now.
        """
        self._set(failures=0, failed_at=None, held_by=None)
        if self.refresh_enabled:
            self._become(Status.ACTIVE, RECONFIGURED if self.is_troubled else None, now)

    def enable(self, *, now: float) -> None:
        self._set(refresh_enabled=True)
        self.reconfigured(now=now)

    def disable(self, *, now: float) -> None:
        """Take the account out of the plan; its token stays published until it ends."""
        self._set(refresh_enabled=False)
        self.reconfigured(now=now)
        self.rescheduled(None, "refresh_disabled")

    @property
    def label_set(self) -> dict[str, str]:
        """Return its labels, name -> value."""
        return read_labels(self.labels)

    @property
    def is_troubled(self) -> bool:
        """Return whether a failure was announced and no token has come since."""
        return self.status in TROUBLED or self.reason == RECONFIGURED

    def _become(self, status: Status, reason: str | None, now: float) -> None:
        if (status, reason) != (self.status, self.reason):
            self._set(status=status, reason=reason, status_at=now)

    def _release(self) -> None:
        self._set(claim_attempt=None, claim_until=None)

    def _set(self, **values: object) -> None:
        """Change columns, past SQLModel's validation and SQLAlchemy's change tracking.

        Rows are written by conditional statements of ours and never flushed by a session, so nobody needs either,
        and they would be a fifth of a refresh's CPU.
        """
        vars(self).update(values)


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


#: `extra` of most accounts; no JSON parser reads or writes it.
_NO_EXTRA: Final = "{}"


def read_extra(text: str) -> dict[str, str]:
    """Read the column `extra`."""
    if text == _NO_EXTRA:
        return {}
    extra: dict[str, str] = json.loads(text)
    return extra


def write_extra(extra: Mapping[str, str]) -> str:
    """Return the text of the column `extra`."""
    return json.dumps(dict(extra)) if extra else _NO_EXTRA


def fingerprint(secret: Secret | None) -> str | None:
    """Return a secret's fingerprint, None for none."""
    return secret.fingerprint() if secret else None
