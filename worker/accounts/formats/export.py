"""Accounts as a file again, in each format that can be imported."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, TextIO

from worker.accounts.columns import CUSTOM_FIELDS, KNOBS, LABELS
from worker.accounts.formats.source import Format
from worker.accounts.values import json_of
from worker.errors import RefreshdError, UsageError

Row = Mapping[str, Any]

#: Characters that JSON allows in a text and YAML does not, or breaks a line at (YAML 1.2 section 5.1).
_NOT_IN_YAML: Final = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")


class ChangedMeanwhile(RefreshdError):
    """An account got a field that no account had when the columns were named."""


def export(rows: Callable[[], Iterable[Row]], file_format: Format, file: TextIO) -> int:
    """Write accounts to a file; returns their number.

    Args:
        rows: gives the rows; CSV asks twice, for it names its columns first.
        file_format: what to write.
        file: where to.

    Raises:
        UsageError: a format that is only read.
        ChangedMeanwhile: CSV's columns do not suffice any more.
    """
    if file_format is Format.PROPERTIES:
        raise UsageError("properties are only read: export as jsonl, yaml or csv")
    if file_format is Format.CSV:
        return _csv(rows, file)
    write = _yaml if file_format is Format.YAML else _json_line
    count = 0
    for row in rows():
        file.write(write(row))
        count += 1
    if file_format is Format.YAML and not count:
        file.write("[]\n")
    return count


def _json_line(row: Row) -> str:
    return json.dumps(row, ensure_ascii=False) + "\n"


def _yaml(row: Row) -> str:
    """Write one item of a list. Values are written as JSON, which is YAML that every reader reads alike."""
    lines = [f"{name}: {_yaml_value(value)}" for name, value in row.items()]
    return "- " + "\n  ".join(lines) + "\n"


def _yaml_value(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return _NOT_IN_YAML.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _csv(rows: Callable[[], Iterable[Row]], file: TextIO) -> int:
    columns = dict.fromkeys(["id"])
    for row in rows():
        columns |= dict.fromkeys(name for name, _ in _cells(row))
    writer = csv.DictWriter(file, list(columns), lineterminator="\n")
    writer.writeheader()
    count = 0
    for row in rows():
        cells = dict(_cells(row))
        if cells.keys() - columns.keys():
            raise ChangedMeanwhile("accounts were changed while they were exported: export them again")
        writer.writerow(cells)
        count += 1
    return count


def _cells(row: Row) -> Iterator[tuple[str, str]]:
    for name, value in row.items():
        if name in {CUSTOM_FIELDS, LABELS}:
            yield from ((f"{name}.{field}", text) for field, text in value.items())
        elif isinstance(value, str) and (name not in KNOBS or json_of(value) == value):
            yield name, value
        else:
            yield name, json.dumps(value, ensure_ascii=False)
