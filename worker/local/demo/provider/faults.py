"""Faults on demand: what a provider does on a bad day, by chance from a seed or the next so many times."""

from __future__ import annotations

from enum import StrEnum
from random import Random  # noqa: TID251  (seeded: a run that failed can be repeated)

from pydantic import BaseModel, ConfigDict, Field, model_validator


class FaultKind(StrEnum):
    """What goes wrong."""

    #: The connection is closed without an answer; the refresh token is not spent.
    DROP_BEFORE_COMMIT = "drop_before_commit"
    #: ... and is spent: the new tokens are lost on the way.
    DROP_AFTER_COMMIT = "drop_after_commit"
    #: The connection is reset (RST); the refresh token is not spent.
    RESET = "reset"
    #: 503, without Retry-After.
    UNAVAILABLE = "unavailable"
    #: 429, with Retry-After.
    RATE_LIMITED = "rate_limited"
    #: The answer comes `delay_s` late; the refresh token is spent.
    HANG = "hang"
    #: 200 with an unreadable body; the refresh token is spent.
    GARBAGE = "garbage"


class FaultSpec(BaseModel):
    """A fault as it is asked for: `POST /admin/faults`. It has either a `probability` or a number of `times`."""

    model_config = ConfigDict(extra="forbid")

    kind: FaultKind
    probability: float | None = Field(None, gt=0, le=1)
    times: int | None = Field(None, ge=1)
    #: Only calls of this client, or of this grant.
    client_id: str | None = None
    grant: str | None = None
    delay_s: float = Field(60, gt=0)
    retry_after_s: int = Field(5, ge=0)
    #: How often it happened.
    happened: int = 0

    @model_validator(mode="after")
    def _by_chance_or_counted(self) -> FaultSpec:
        if (self.probability is None) == (self.times is None):
            raise ValueError("a fault has either a probability or a number of times")
        return self

    def hits(self, *, client_id: str, grant: str, chance: Random) -> bool:
        """Return whether it happens to this call, and count it."""
        if self.client_id not in {None, client_id} or self.grant not in {None, grant}:
            return False
        if self.probability is not None and chance.random() >= self.probability:
            return False
        if self.times is not None and self.happened >= self.times:
            return False
        self.happened += 1
        return True


class Faults:
    """The faults that are set, in the order in which they are tried."""

    def __init__(self, seed: int) -> None:
        self.set: list[FaultSpec] = []
        self._chance = Random(seed)

    def draw(self, *, client_id: str, grant: str) -> FaultSpec | None:
        """Return the fault that happens to this call, None for most."""
        for fault in self.set:
            if fault.hits(client_id=client_id, grant=grant, chance=self._chance):
                return fault
        return None
