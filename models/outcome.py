"""Attempts in plain Python, without their table (`models/tables/attempt.py`): what asks for one, how it ends, what it keeps, and one under way."""

from __future__ import annotations

import secrets
from enum import StrEnum
from typing import Final

from msgspec import Struct

from models.answer import Verdict


class Trigger(StrEnum):
    """What asked for a refresh: the `reason` of a refresh message."""

    PLANNED = "planned"
    FORCED = "forced"
    REPORTED = "reported"
    TEST = "test"


class Outcome(StrEnum):
    """How an attempt ended: a verdict, or why there was no call."""

    REFRESHED = Verdict.REFRESHED
    RETRY = Verdict.RETRY
    RATE_LIMITED = Verdict.RATE_LIMITED
    REAUTHORIZE = Verdict.REAUTHORIZE
    MISCONFIGURED = Verdict.MISCONFIGURED
    BUSY = "busy"
    NOT_DUE = "not_due"
    SUPERSEDED = "superseded"
    NOT_SENT = "not_sent"
    DISABLED = "disabled"


#: What an attempt found open after its end is closed with: the provider may have used the refresh token.
INTERRUPTED: Final = "interrupted_outcome_ambiguous"


#: Prefix of refreshd's own lines in a callback's output, which its attempt keeps; a callback's lines never begin so.
OWN_LINE: Final = "[refreshd] "
#: Prefix of the line of a run that returned nothing new.
SAME_ACCESS_TOKEN: Final = "access_token is the one that the account already had"


class AttemptRow:
    """A row of `attempt` as a plain object. Whoever is one has the columns of `Attempt` as attributes."""


class AttemptEntry(Struct, kw_only=True):
    """An attempt under way: the values of a row of `attempt`. A plain class, because each refresh makes one."""

    id: str
    account_id: str
    trigger: str
    opened_at: float
    generation: int
    config_version: int
    closed_at: float | None = None
    worker: str | None = None
    task_id: str | None = None
    generation_after: int | None = None
    refresh_fp: str | None = None
    received_fp: str | None = None
    outcome: Outcome | None = None
    reason: str | None = None
    http_status: int | None = None
    error: str | None = None
    error_description: str | None = None
    provider_request_id: str | None = None
    request: str | None = None
    output: str | None = None
    scope_lost: str | None = None
    lock_wait_ms: float | None = None
    latency_ms: float | None = None
    next_refresh_at: float | None = None
    # --- for the metrics, and in no column ---
    #: Seconds from its due time to the request.
    lag_s: float | None = None
    #: Another attempt was found open after its end.
    after_interruption: bool = False


def new_attempt_ids(opened_at: float, count: int) -> list[str]:
    """Return ids that sort by time: 12 hex digits of milliseconds, 12 of chance, drawn for all at once."""
    time, chance = f"{int(opened_at * 1000) & 0xFFFFFFFFFFFF:012x}", secrets.token_hex(6 * count)
    return [time + chance[12 * nth : 12 * nth + 12] for nth in range(count)]


def new_attempt_id(opened_at: float) -> str:
    """Return one id, as `new_attempt_ids` does."""
    return new_attempt_ids(opened_at, 1)[0]
