"""Recorded answers (`tests/answers/*.answer`): what must come of each, and the bytes as a server sent them.

Lines `name: value` say what must come of it; behind a line of four dashes stand status line, headers and body, as they
are. `refreshed_before: yes` judges it as of an account whose configuration had brought tokens. `connection: close` has the server end the connection behind the answer; else it stays open. A new case is a new file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from models.answer import Answer
from models.token import Secret
from worker.policy.verdicts.verdict import judge

FOLDER: Final = Path(__file__).parent.parent / "answers"
_SEPARATOR: Final = b"\n----\n"


@dataclass(frozen=True)
class Recorded:
    name: str
    raw: bytes
    expected: Mapping[str, str]
    closes: bool
    refreshed_before: bool


def recorded() -> list[Recorded]:
    return [_read(path) for path in sorted(FOLDER.glob("*.answer"))]


def _read(path: Path) -> Recorded:
    head, _, raw = path.read_bytes().partition(_SEPARATOR)
    lines = [line.partition(": ") for line in head.decode().split("\n") if not line.startswith("#")]
    expected = {name: value for name, _, value in lines}
    closes = expected.pop("connection", "open") == "close"
    refreshed_before = expected.pop("refreshed_before", "no") == "yes"
    return Recorded(path.stem, raw, expected, closes, refreshed_before)


def came_of(answer: Answer, *, refreshed_before: bool = False) -> dict[str, str]:
    """What came of an answer, in the words of the files; what is absent is `none`."""
    judged, token = judge(answer, (), refreshed_before=refreshed_before), answer.token
    facts: dict[str, object] = {
        "verdict": judged.verdict.value,
        "reason": judged.reason,
        "access_token": _text(None if token is None else token.access_token),
        "refresh_token": _text(None if token is None else token.refresh_token),
        "expires_in_s": token and token.expires_in_s,
        "expires_at": token and token.expires_at,
        "refresh_token_expires_at": token and token.refresh_token_expires_at,
        "lone_refresh_token": _text(answer.refresh_token),
        "fault": answer.fault and answer.fault.value,
        "status": answer.status,
        "error": answer.error,
        "retry_after_s": answer.retry_after_s,
        "note": answer.fault_detail or answer.error_description,
        "output": answer.output,
        "spent": "yes" if answer.spent else "no",
    }
    return {name: _shown(value) for name, value in facts.items()}


def _text(secret: Secret | None) -> str | None:
    return None if secret is None else secret.reveal()


def _shown(value: object) -> str:
    if value is None:
        return "none"
    return (
        f"{value:g}"
        if isinstance(value, float) and value < 1e6
        else f"{value:.0f}"
        if isinstance(value, float)
        else str(value)
    )
