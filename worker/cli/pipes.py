"""Output into a pipe whose reader has seen enough (`| head`): that is no failure of the command."""

from __future__ import annotations

import os
import select
import sys
from typing import Any

import typer
from typer.core import TyperGroup


class PipedGroup(TyperGroup):
    """The commands. Typer, too, would end with exit code 1."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            if not _nobody_reads():
                raise  # of another pipe
            raise typer.Exit(0) from None
        finally:
            if _nobody_reads():  # what is still in the buffer would fail when Python ends
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, sys.stdout.fileno())
                os.close(nowhere)


def _nobody_reads() -> bool:
    """Tell whether standard output is a pipe that was closed at its other end."""
    try:
        standard_output = sys.stdout.fileno()
    except (OSError, ValueError):  # it is none of the system's, or closed
        return False
    poll = select.poll()
    poll.register(standard_output, 0)
    return any(events & (select.POLLERR | select.POLLHUP) for _, events in poll.poll(0))
