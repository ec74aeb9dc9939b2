"""What a check found. `worker.diagnostics.doctor` has the checks."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What one check found."""

    check: str
    level: Level
    words: str
    #: What to do; empty where nothing is to be done.
    remedy: str = ""
