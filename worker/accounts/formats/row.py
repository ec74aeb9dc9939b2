"""One row of a file of accounts, whatever its format."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from worker.errors import UsageError

#: One row of JSON Lines or CSV takes no more: a longer one is no account, and must not fill the memory.
ROW_MAX_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Raw:
    """One row: where it begins (line 1 is the first), and its columns, or why there are none."""

    line: int
    row: Mapping[str, object] | None
    reason: str = ""
    #: Every value is text, for the format has nothing else.
    cells: bool = False
    #: Names of what the file says beside, and what has no place here.
    left_out: tuple[str, ...] = ()


class UnreadableFile(UsageError):
    """A file that is no accounts file."""


def finite(text: str) -> float | str:
    """Read a number; one that is larger than any float stays text."""
    number = float(text)
    return number if math.isfinite(number) else text
