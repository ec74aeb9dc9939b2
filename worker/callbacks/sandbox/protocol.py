"""The messages between a worker and its fork servers: one JSON object a line.

A fork server (`worker.callbacks.sandbox.fork_server`) imports the operator's modules once and is forked for each run. A
command reaches it over a socket, together with two descriptors of the run's own: one for the inputs and the answer,
one for output. So no secret ever enters the process that the next run is forked from. Its reports go through its
standard output.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

#: Keys of what a fork server reports.
IMPORTING: Final = "importing"
READY: Final = "ready"
ENDED: Final = "ended"

#: Keys of what a run answers.
RETURNED: Final = "returned"
RAISED: Final = "raised"
TIMED_OUT: Final = "timed_out"
EXITED: Final = "exited"
UNFIT: Final = "unfit"

#: No command is longer: it is received in one piece, together with its descriptors.
COMMAND_BYTES: Final = 4096
#: No answer is longer.
ANSWER_BYTES: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Known:
    """One callback, as a fork server describes it. `where` is FILE:LINE."""

    name: str
    where: str
    timeout_s: float | None = None
    memory_mb: int | None = None


@dataclass(frozen=True, slots=True)
class Described:
    """What a fork server has to offer."""

    callbacks: Mapping[str, Known] = field(default_factory=dict)
    #: Module or entry point -> why it is not used.
    problems: Mapping[str, str] = field(default_factory=dict)
    #: The files that all this came from; a change of one of them is a reason to begin anew.
    files: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, payload: Mapping[str, Any]) -> Described:
        return cls(
            {name: Known(**known) for name, known in payload["callbacks"].items()},
            dict(payload["problems"]),
            tuple(payload["files"]),
        )


@dataclass(frozen=True, slots=True)
class Command:
    """What to run. Amounts: seconds from now, mebibytes."""

    name: str
    soft_s: float
    hard_s: float
    memory_mb: int


@dataclass(frozen=True, slots=True)
class RunEnded:
    """How a run's process ended."""

    exit_code: int | None = None
    signal: int | None = None
    #: It was killed because its time was over.
    overtime: bool = False
    #: Processes that it had left behind, killed.
    left: int = 0


def line(payload: object) -> bytes:
    """Return an object as one line."""
    return json.dumps(payload).encode() + b"\n"
