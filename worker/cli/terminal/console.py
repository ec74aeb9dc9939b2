"""How commands print: tables for people, JSON for scripts. stdout holds the answer, stderr everything else."""

from __future__ import annotations

import json
import sys
from typing import Any

from rich.console import Console

from worker.clock import wall_clock
from worker.durations import duration


class PipedConsole(Console):
    """A console that leaves a broken pipe to the command: rich ends the process with exit code 1."""

    def on_broken_pipe(self) -> None:
        raise  # noqa: PLE0704  (rich calls it where it has caught the error)

    def plain(self, words: str, style: str | None = None) -> None:
        """Print a text as it is: square brackets are no markup, and long lines are the terminal's to break."""
        self.print(words, style=style, markup=False, soft_wrap=True)


out = PipedConsole(highlight=False)
err = PipedConsole(stderr=True, highlight=False)


def print_json(value: Any) -> None:
    """Print one JSON object on one line."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, default=str) + "\n")


def ago_or_in(at: float | None, *, now: float | None = None) -> str:
    """Say a point in time as people do: `in 4m 10s`, `12s ago`, `-` for none."""
    if at is None:
        return "-"
    distance_s = at - (wall_clock() if now is None else now)
    words = duration(abs(distance_s))
    return f"in {words}" if distance_s >= 0 else f"{words} ago"
