"""Results of the checks in `worker.diagnostics.doctor`."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct


class Level(StrEnum):
    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


class CheckResult(Struct, frozen=True):
    """A finding of one check."""

    check: str
    level: Level
    message: str
    #: What to do; empty where nothing is to be done.
    hint: str = ""

    def as_json(self) -> dict[str, str]:
        """Return the fields for scripts; `words` and `remedy` are the names of the release before."""
        return {
            "check": self.check,
            "level": self.level.value,
            "message": self.message,
            "hint": self.hint,
            "words": self.message,
            "remedy": self.hint,
        }


def ok(check: str, message: str) -> CheckResult:
    return CheckResult(check, Level.OK, message)


def warning(check: str, message: str, hint: str) -> CheckResult:
    return CheckResult(check, Level.WARNING, message, hint)


def failed(check: str, message: str, hint: str) -> CheckResult:
    return CheckResult(check, Level.FAILED, message, hint)
