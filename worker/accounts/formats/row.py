"""One row of a file of accounts, whatever its format."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from worker.errors import UsageError

#: The limit of a row in JSON Lines or CSV: longer than any account, and small enough for memory.
ROW_MAX_BYTES: Final = 1 << 20


class Raw(Struct, frozen=True):
    """One row: its first line (from 1), and its columns, or the reason why it can't be read."""

    line: int
    row: Mapping[str, object] | None
    reason: str = ""
    #: Every value is text: the format has no other types.
    cells: bool = False
    #: Names of fields without a counterpart here.
    left_out: tuple[str, ...] = ()


class UnreadableFile(UsageError):
    """A file that can't be read as an accounts file."""


def finite(text: str) -> float | str:
    """Return a number; text where it is larger than any float."""
    number = float(text)
    return number if math.isfinite(number) else text
