"""What the API answers, as its OpenAPI document has it. A later refreshd may add members."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypedDict

Status = Literal["active", "degraded", "reauthorize", "misconfigured", "disabled"]


class AccountBrief(TypedDict):
    """An account of a list. Times are epoch seconds."""

    id: str
    provider: str
    client: str | None
    labels: dict[str, str]
    status: Status
    reason: str | None
    status_at: float | None
    failures: int
    generation: int
    published_generation: int | None
    issued_at: float | None
    expires_at: float | None
    refresh_token_expires_at: float | None
    next_refresh_at: float | None
    due_reason: str
    created_at: float | None
    refresh_enabled: bool
    refresh_method: str
    session_management: str


class Account(AccountBrief):
    """An account: `has` says which secrets are stored, none is shown. Its settings come along, too."""

    scope: str | None
    token_type: str
    has: dict[str, bool]


class Applied(TypedDict):
    """What became of an account's configuration."""

    account: str
    outcome: Literal["added", "changed", "unchanged", "kept_newer"]


class Granted(TypedDict):
    """What became of a new grant. `published`: its token can be read in Redis already."""

    account: str
    outcome: Literal["connected", "reconnected", "replaced"]
    generation: int
    published: bool
    status: Status
    expires_at: float | None
    next_refresh_at: float | None


class Refreshed(TypedDict):
    """How a refresh ended: a verdict, `not_due`, `busy`, `disabled`, or `queued` where it was not waited for."""

    account: str
    outcome: str
    reason: str
    generation: int


class RowResult(TypedDict):
    """What became of a row of a batch. `line` counts rows from 1; `account` is None where the row has none that can be read."""

    line: int
    account: str | None
    outcome: str
    errors: list[dict[str, str]]


class OpenedSession(TypedDict):
    """A Connect session: send the customer's browser to `url`."""

    id: str
    url: str
    expires_at: float


class ConnectSession(TypedDict):
    """What became of a Connect session (docs/connect.md)."""

    id: str
    account: str
    provider: str
    client: str
    labels: dict[str, str]
    return_url: str
    status: Literal["open", "started", "returned", "exchanging", "connected", "failed"]
    reason: str | None
    detail: str | None
    outcome: Literal["connected", "reconnected", "replaced"] | None
    generation: int | None
    created_at: float
    expires_at: float
    ended_at: float | None


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened (docs/events.md).

    Attributes:
        id: what `events(after=...)` goes on behind.
        type: such as `reauthorize`.
        data: `account`, `reason`, `at` and the like.
    """

    id: str
    type: str
    data: Mapping[str, Any]
