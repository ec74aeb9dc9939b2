"""How commands print: tables for people, JSON for scripts. stdout holds the answer, stderr everything else."""

from __future__ import annotations

import json
import sys
from typing import Any

from rich.console import Console

from worker.durations import ago_or_in

__all__ = ["PipedConsole", "ago_or_in", "err", "out", "print_json"]


class PipedConsole(Console):
    """A console that leaves a broken pipe to the command: rich ends the process with exit code 1."""

    def on_broken_pipe(self) -> None:
        raise  # noqa: PLE0704  (rich calls it where it has caught the error)


out = PipedConsole(highlight=False)
err = PipedConsole(stderr=True, highlight=False)


def print_json(value: Any) -> None:
    """Print one JSON object on one line."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, default=str) + "\n")
