"""An accounts file, read as a stream: its format, and one `Raw` per row whatever the row looks like.

A row that can't be read is a `Raw` with a reason, and the rows after it are read. Only a file that is unreadable as a
whole raises: missing, not text, of an unknown format, or a CSV without column names.
"""

from __future__ import annotations

import codecs
import io
import json
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO, Final

from msgspec import Struct

from worker.accounts.formats.row import ROW_MAX_BYTES, Raw, UnreadableFile, finite
from worker.errors import UsageError

STDIN: Final = Path("-")


class Format(StrEnum):
    """The format of an accounts file."""

    JSONL = "jsonl"
    YAML = "yaml"
    CSV = "csv"
    PROPERTIES = "properties"


#: What an export can be.
WRITTEN: Final = (Format.JSONL, Format.YAML, Format.CSV)

_SUFFIXES: Final = {
    ".jsonl": Format.JSONL,
    ".ndjson": Format.JSONL,
    ".json": Format.JSONL,
    ".yaml": Format.YAML,
    ".yml": Format.YAML,
    ".csv": Format.CSV,
    ".tsv": Format.CSV,
    ".properties": Format.PROPERTIES,
}


def format_of(path: Path, wanted: Format | None, *, usable: Collection[Format] = tuple(Format)) -> Format:
    """Return a file's format: the given one, else that of its name.

    Raises:
        UsageError: no format is given, and the name has none; those that are `usable` are named.
    """
    found = wanted or _SUFFIXES.get(path.suffix.lower())
    if found is None and path.is_dir():
        raise UsageError(f"{path}: is a folder; name a file in it")
    if found is None:
        endings = [suffix for suffix, one in _SUFFIXES.items() if one in usable]
        raise UsageError(
            f"{path}: unknown format; expected --format {', '.join(usable)} (or one of the endings {', '.join(endings)})"
        )
    return found


class Source(Struct):
    """An open accounts file of `size` bytes."""

    stream: BinaryIO
    name: str
    format: Format
    size: int

    def rows(self) -> Iterator[Raw]:
        """Return the rows.

        Raises:
            UnreadableFile: the file is not of this format; no row was returned before.
        """
        from worker.accounts.formats.csv import csv_rows  # late: each needs this module's names
        from worker.accounts.formats.properties import properties_rows
        from worker.accounts.formats.yaml import yaml_rows

        start = self._skip_byte_order_mark()
        is_array = self.format is Format.JSONL and self._begins_with_bracket()
        if self.format is Format.CSV:
            return csv_rows(self.stream, self.name)
        if self.format is Format.PROPERTIES:
            return properties_rows(self.stream, self.name)
        if self.format is Format.YAML or is_array:  # JSON is YAML, and a JSON array is not JSON Lines
            return yaml_rows(self.stream, self.name, start)
        return json_rows(self.stream)

    def rewind(self) -> None:
        """Have the rows read once more from the first."""
        self.stream.seek(0)

    def position(self) -> int:
        """Return the number of bytes read so far."""
        return self.stream.tell()

    def _skip_byte_order_mark(self) -> int:
        head = self.stream.read(4)
        if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in head:
            raise UnreadableFile(f"{self.name}: is not UTF-8 text (save it as UTF-8)")
        start = len(codecs.BOM_UTF8) if head.startswith(codecs.BOM_UTF8) else 0
        self.stream.seek(start)
        return start

    def _begins_with_bracket(self) -> bool:
        start = self.stream.tell()
        head = self.stream.read(1024).lstrip()
        self.stream.seek(start)
        return head.startswith(b"[")


@contextmanager
def open_source(path: Path, wanted: Format | None) -> Iterator[Source]:
    """Open an accounts file; `-` is standard input.

    Raises:
        UsageError: the file is missing, can't be read, or its format is unknown.
    """
    if path == STDIN:
        content = sys.stdin.buffer.read()
        yield Source(io.BytesIO(content), "standard input", wanted or Format.JSONL, len(content))
        return
    file_format = format_of(path, wanted)
    try:
        stream = path.open("rb")
    except OSError as error:
        raise UnreadableFile(f"{path}: {error.strerror}") from None
    with stream:
        if stream.seekable():
            yield Source(stream, str(path), file_format, path.stat().st_size)
            return
        content = stream.read()  # a pipe: it can't be read twice
    yield Source(io.BytesIO(content), str(path), file_format, len(content))


def json_rows(stream: BinaryIO) -> Iterator[Raw]:
    """Read JSON Lines: one object a line; blank lines are skipped."""
    line = 0
    while raw := stream.readline(ROW_MAX_BYTES + 1):
        line += 1
        if len(raw) > ROW_MAX_BYTES:
            while not raw.endswith(b"\n") and raw:
                raw = stream.readline(ROW_MAX_BYTES)
            yield Raw(line, None, f"is longer than {ROW_MAX_BYTES:,} bytes")
            continue
        if not raw.strip():
            continue
        yield _json_row(line, raw)


def _json_row(line: int, raw: bytes) -> Raw:
    try:
        row = json.loads(
            raw.decode().rstrip("\r\n"),
            object_pairs_hook=_unique,
            parse_constant=_no_number,
            parse_float=finite,
        )
    except UnicodeDecodeError:
        return Raw(line, None, "is not UTF-8 text")
    except RecursionError:
        return Raw(line, None, "is nested too deeply")
    except json.JSONDecodeError as error:
        return Raw(line, None, f"not valid JSON: {error.msg} (column {error.colno})")
    except ValueError as error:
        return Raw(line, None, str(error))
    if not isinstance(row, dict):
        return Raw(line, None, "expected a JSON object, {...}")
    return Raw(line, row)


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice[:60]!r} is given twice")
    return found


def _no_number(word: str) -> object:
    raise ValueError(f"not valid JSON: {word}")
