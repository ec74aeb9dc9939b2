"""What comes back from wherever a callback ran, before it is read."""

from __future__ import annotations

from dataclasses import dataclass

from models.answer import Answer
from worker.callbacks.host.output import Captured


@dataclass(frozen=True, slots=True)
class Reply:
    """One run of one callback."""

    #: What it returned, decoded; of no meaning where there is a failure.
    value: object = None
    #: Why there is nothing to read.
    failure: Answer | None = None
    #: What it printed.
    output: Captured | None = None
    #: What a person should know beside it.
    notes: tuple[str, ...] = ()
