"""Output into a pipe whose reader has seen enough (`| head`), which is no failure of the command, or onto a full disk."""

from __future__ import annotations

import errno
import os
import select
import sys
from typing import Any, Final

import typer
from typer.core import TyperGroup

from worker.errors import RefreshdError

#: How a disk says that it takes no more.
_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class PipedGroup(TyperGroup):
    """The commands. Typer, too, would end with exit code 1."""

    def get_params(self, ctx: Any) -> Any:
        params = super().get_params(ctx)
        for one in params:
            if getattr(one, "is_flag", False):
                one.metavar = ""  # no `<bool>` beside what takes no value
        return params

    def invoke(self, ctx: Any) -> Any:
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            if not _nobody_reads():
                raise  # of another pipe
            raise typer.Exit(0) from None
        except OSError as error:
            if error.errno not in _NO_ROOM or error.filename is not None:
                raise  # of another file
            _say_no_more()
            raise RefreshdError(f"standard output can't be written: {error.strerror}") from None
        finally:
            if _nobody_reads():
                _say_no_more()
        return result


def _say_no_more() -> None:
    """Let go what is still in the buffer: it would fail when Python ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def _nobody_reads() -> bool:
    """Return whether standard output is a pipe that was closed at its other end."""
    try:
        standard_output = sys.stdout.fileno()
    except (OSError, ValueError):  # it is none of the system's, or closed
        return False
    poll = select.poll()
    poll.register(standard_output, 0)
    return any(events & (select.POLLERR | select.POLLHUP) for _, events in poll.poll(0))
