"""Events: entries of the stream `refreshd:events` in Redis; some are sent as webhooks too."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct

from models.label import NO_LABELS


class EventType(StrEnum):
    """Types of the entries of `refreshd:events`."""

    REFRESHED = "refreshed"
    FAILED = "failed"
    DEGRADED = "degraded"
    REAUTHORIZE = "reauthorize"
    MISCONFIGURED = "misconfigured"
    RECOVERED = "recovered"
    EXPIRING = "expiring"
    #: The account's first grant was stored.
    CONNECTED = "connected"
    #: A new grant took the place of the stored one: its owner consented again.
    RECONNECTED = "reconnected"


class Event(Struct, frozen=True, kw_only=True):
    """One entry of the stream `refreshd:events`; it never holds a secret.

    It is about an account (`generation` is set then), or about every account of a `client` or `provider`.
    """

    type: str
    reason: str
    at: float
    account: str | None = None
    generation: int | None = None
    provider: str | None = None
    client: str | None = None
    #: End of the refresh token, or of the client's secret (`expiring`).
    expires_at: float | None = None
    #: The account's labels as its column has them: a JSON object.
    labels: str = NO_LABELS
    #: W3C Trace Context of the refresh, where it is traced and events carry it.
    traceparent: str | None = None

    def to_fields(self) -> dict[str, str]:
        """Return the entry's fields."""
        about = {
            "account": self.account,
            "provider": self.provider,
            "client": self.client,
            "generation": None if self.generation is None else str(self.generation),
            "expires_at": None if self.expires_at is None else f"{self.expires_at:.3f}",
            "labels": None if self.labels == NO_LABELS else self.labels,
            "traceparent": self.traceparent,
        }
        known = {name: value for name, value in about.items() if value is not None}
        return {"type": self.type, **known, "reason": self.reason, "at": f"{self.at:.3f}"}
