"""Accounts from CSV (RFC 4180): the first line names the columns; comma, semicolon or tab, whichever names more.

A quote that is opened and not closed would swallow the rows behind it. Such a row is refused by its first line
alone, and reading goes on at the next one.
"""

from __future__ import annotations

import csv
import re
from collections import deque
from collections.abc import Iterator
from typing import BinaryIO, Final

from worker.accounts.columns import ColumnKind, column_of
from worker.accounts.formats.row import ROW_MAX_BYTES, Raw, UnreadableFile

_DELIMITERS: Final = (",", ";", "\t")
#: A quoted field may span lines (a PEM has some thirty); a quote that is never closed must not take the file.
_LINES_PER_ROW_MAX: Final = 200
#: What the decoder makes of bytes that are no UTF-8.
_UNDECODED: Final = re.compile(r"[\udc80-\udcff]")
#: Stands for a line that is too long to be kept.
_TOO_LONG: Final = "\0"


def csv_rows(stream: BinaryIO, name: str) -> Iterator[Raw]:
    """Read the rows.

    Raises:
        UnreadableFile: the first line names no columns.
    """
    lines = _Lines(stream)
    header = lines.next()
    while header is not None and not header.strip():
        header = lines.next()
    if header is None:
        return iter(())
    delimiter, columns = _columns(header, name)
    return _rows(lines, columns, delimiter)


def _columns(header: str, name: str) -> tuple[str, list[str]]:
    candidates = [(delimiter, _cells(header, delimiter)) for delimiter in _DELIMITERS]
    delimiter, columns = max(candidates, key=lambda one: sum(column_of(cell) is not None for cell in one[1]))
    kinds = {column.kind for cell in columns if (column := column_of(cell))}
    if ColumnKind.ID not in kinds:
        # The names are not shown: a file without a header has secrets there.
        raise UnreadableFile(f"{name}: the first line must name the columns, and `id` is not among them")
    if len(set(columns)) < len(columns):
        twice = sorted({cell for cell in columns if columns.count(cell) > 1})
        raise UnreadableFile(f"{name}: column {', '.join(map(repr, twice))} stands there twice")
    return delimiter, columns


def _cells(line: str, delimiter: str) -> list[str]:
    try:
        return [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter, strict=True), [])]
    except csv.Error:
        return []


def _rows(lines: _Lines, columns: list[str], delimiter: str) -> Iterator[Raw]:
    while (first := lines.next()) is not None:
        if not first.strip():
            continue
        line, taken = lines.number, [first]
        if first == _TOO_LONG:
            yield Raw(line, None, f"is longer than {ROW_MAX_BYTES:,} bytes")
            continue
        cells, reason = _record(lines, taken, delimiter)
        if not reason and len(cells) != len(columns):
            reason = f"has {len(cells)} cells where the first line names {len(columns)} columns"
        if not reason and any(_UNDECODED.search(text) for text in taken if not text.isascii()):
            reason = "is not UTF-8 text"
        if reason:
            lines.give_back(taken[1:])
            yield Raw(line, None, reason)
        else:
            yield Raw(line, dict(zip(columns, cells, strict=True)), cells=True)


def _record(lines: _Lines, taken: list[str], delimiter: str) -> tuple[list[str], str]:
    """Parse one record; `taken` gets every line that it consists of. Returns its cells, or why there are none."""

    def feed() -> Iterator[str]:
        yield taken[0]
        size = len(taken[0])
        while len(taken) < _LINES_PER_ROW_MAX and size <= ROW_MAX_BYTES:
            following = lines.next()
            if following is None:
                return
            taken.append(following)
            size += len(following)
            yield following

    try:
        return next(csv.reader(feed(), delimiter=delimiter, strict=True), []), ""
    except csv.Error as error:
        unclosed = len(taken) > 1 or "unexpected end of data" in str(error)
        return [], "a quote is opened and not closed" if unclosed else f"not valid CSV: {error}"


class _Lines:
    """The file's lines, decoded, with a way back. Bytes that are no UTF-8 become surrogates, to be found later."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._returned: deque[str] = deque()
        self.number = 0

    def next(self) -> str | None:
        if self._returned:
            self.number += 1
            return self._returned.popleft()
        raw = self._stream.readline(ROW_MAX_BYTES + 2)
        if not raw:
            return None
        self.number += 1
        if len(raw) <= ROW_MAX_BYTES + 1:
            return raw.decode(errors="surrogateescape")
        while raw and not raw.endswith(b"\n"):
            raw = self._stream.readline(ROW_MAX_BYTES)
        return _TOO_LONG

    def give_back(self, lines: list[str]) -> None:
        self._returned.extendleft(reversed(lines))
        self.number -= len(lines)
