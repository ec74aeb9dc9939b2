"""Sentences with commands in them, folded at the terminal's width: a command is never cut, so that it can be copied."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from rich.console import Console, ConsoleOptions
from rich.text import Text

#: What stays in one piece: a word, and everything between two backticks with what touches it.
_PIECE: Final = re.compile(r"(?:`[^`]*`|\S)+")


def one_line(line: Text) -> Text:
    """Return a line that is as long as it is: a terminal shows it on several rows, and copies it as one."""
    line.no_wrap, line.overflow = True, "ignore"
    return line


class Folded:
    """A text folded between its words. Print it with `crop=False`: a long command goes beyond the width.

    Args:
        words: the text; commands in it stand between backticks.
        first: what stands before its first line; the others are indented by as much.
        style: of the text.
    """

    def __init__(self, words: str, *, first: Text, style: str = "") -> None:
        self._words = words
        self._first = first
        self._style = style

    def __rich_console__(self, _: Console, options: ConsoleOptions) -> Iterator[Text]:
        before = self._first
        for line in _lines(self._words, options.max_width - self._first.cell_len):
            yield one_line(Text.assemble(before, (line, self._style)))
            before = Text(" " * self._first.cell_len)


def _lines(words: str, width: int) -> Iterator[str]:
    line = ""
    for piece in _PIECE.findall(words):
        longer = f"{line} {piece}" if line else piece
        if line and Text(longer).cell_len > width:
            yield line
            longer = piece
        line = longer
    yield line
