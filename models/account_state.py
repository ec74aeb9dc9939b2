"""What an account is in, and the ways in which that may change: plain Python, without the table (`models/tables/account.py`).

A command that reads an account loads no ORM: it costs more than the rest of the command.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from models.label import read_labels
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


class SealedTokens(Struct, frozen=True):
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


class AccountState:
    """The transitions of an account. Whoever is one has the columns of `Account` as attributes."""

    if TYPE_CHECKING:
        refresh_enabled: bool
        issued_at: float | None
        refresh_token_expires_at: float | None
        generation: int
        config_version: int
        next_refresh_at: float | None
        status: str
        reason: str | None
        failures: int
        held_by: str | None
        labels: str

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
            **{name: getattr(tokens, name) for name in SealedTokens.__struct_fields__},
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
        """Store a new refresh token that came without an access token; the generation grows by one.

        `tokens` has beside it what the account had when it was asked. Where the row's access token was issued later, that stays.
        """
        is_older = (self.issued_at or 0.0) > (tokens.issued_at or 0.0)
        names = ("refresh_token_sealed", "refresh_fp") if is_older else SealedTokens.__struct_fields__
        self._set(**{name: getattr(tokens, name) for name in names}, generation=self.generation + 1)

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

    def kept(self, sealed_answer: str | None) -> None:
        """Keep a success that lost the race for its generation; None: what was kept is of no use."""
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
