"""Questions to a person at a terminal. Ctrl-C ends the command as everywhere else: exit code 130, not 1."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import typer


def ask(words: str, *, hidden: bool = False, optional: bool = False) -> str:
    """Ask for a value on stderr; `hidden` does not show what is typed, `optional` takes an empty answer.

    Raises:
        KeyboardInterrupt: Ctrl-C. The end of input (Ctrl-D) is typer's own Abort.
    """
    with _interruptible(ends_line=not hidden):
        default = "" if optional else None
        return str(typer.prompt(words, hide_input=hidden, default=default, show_default=False, err=True))


def confirm(words: str) -> None:
    """Ask whether to go on, and end the command where the answer is no.

    Raises:
        KeyboardInterrupt: Ctrl-C.
        typer.Abort: no, or the end of input.
    """
    with _interruptible(ends_line=True):
        typer.confirm(words, abort=True, err=True)


@contextmanager
def _interruptible(*, ends_line: bool) -> Iterator[None]:
    try:
        yield
    except typer.Abort as error:  # typer makes one of Ctrl-C, too
        if isinstance(error.__context__, KeyboardInterrupt):
            if ends_line:
                typer.echo(err=True)
            raise KeyboardInterrupt from None
        raise
