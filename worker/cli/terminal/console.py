"""How commands print: tables for people, JSON for scripts. stdout holds the answer, stderr everything else."""

from __future__ import annotations

import json
import sys
from typing import Any

from rich.console import Console

from worker.durations import ago_or_in

__all__ = ["PipedConsole", "accounts_words", "ago_or_in", "err", "out", "print_json"]


class PipedConsole(Console):
    """A console that leaves a broken pipe to the command: rich ends the process with exit code 1."""

    def on_broken_pipe(self) -> None:
        raise  # noqa: PLE0704  (rich calls it where it has caught the error)

    def plain(self, words: str, style: str | None = None) -> None:
        """Print a text as it is: square brackets are no markup, and long lines are the terminal's to break."""
        self.print(words, style=style, markup=False, soft_wrap=True)


out = PipedConsole(highlight=False)
err = PipedConsole(stderr=True, highlight=False)


def accounts_words(count: int) -> str:
    """Return a number of accounts in words."""
    return f"{count:,} account{'' if count == 1 else 's'}"


def print_json(value: Any) -> None:
    """Print one JSON object on one line."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, default=str) + "\n")
