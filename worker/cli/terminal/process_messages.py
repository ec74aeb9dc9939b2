"""What the processes of a stack have to say, as lines for a person's terminal."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Final

from rich.text import Text

from worker.local.supervisor import Change, Killed, ProcessEnded, Restarted

#: The cause of an end stands in the last lines of a log.
_END_BYTES: Final = 4_000
_LONGEST_WORDS: Final = 300


def say(change: Change, logs: Path) -> Text:
    """Return what happened to a process, and its last words where it ended."""
    match change:
        case Restarted():
            return Text(f"{change.name} runs again (process {change.pid})", style="green")
        case Killed():
            return Text(
                f"{change.name} did not stop in {change.after_s:.0f} s and was killed", style="yellow"
            )
        case ProcessEnded():
            line = Text(
                f"{change.name} {change.cause}; it is started again in {change.pause_s:g} s", style="red"
            )
            ended_by_itself = change.exit_code is not None and change.exit_code >= 0
            if ended_by_itself and (words := last_words(logs / f"{change.name}.log")):
                line.append(f"\n  {words}", style="dim")
            return line


def last_words(log: Path) -> str:
    """Return the last line of a log that says something; of a structured line, its event and error."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - _END_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    for line in reversed(lines):
        if line.strip():
            return _in_words(line.strip())[:_LONGEST_WORDS]
    return ""


def _in_words(line: str) -> str:
    with suppress(ValueError):
        event = json.loads(line)
        if isinstance(event, dict) and "event" in event:
            rest = [f"{name}={value}" for name, value in event.items() if name not in _KNOWN]
            return " ".join([str(event["event"]), *rest])
    return line


_KNOWN: Final = {"event", "level", "timestamp"}
