"""The hosts that a provider's credentials may go to."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

#: The pattern that every host matches.
ANY_HOST: Final = "*"
#: `*`, a host, or `*.` and a domain.
_PATTERN: Final = re.compile(r"\*|(?:\*\.)?[a-z0-9_-]+(?:\.[a-z0-9_-]+)*|[0-9a-f:.]+")


@dataclass(frozen=True)
class Hosts:
    """A list of patterns."""

    patterns: tuple[str, ...]
    _exact: frozenset[str] = field(init=False, repr=False, compare=False)
    _ends: tuple[str, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_exact", frozenset(self.patterns))
        ends = tuple(one[1:] for one in self.patterns if one.startswith("*."))
        object.__setattr__(self, "_ends", ends)

    def admit(self, host: str) -> bool:
        """Return whether one of the patterns is this host (in its ASCII form), or one above it."""
        if ANY_HOST in self._exact:
            return True
        host = host.casefold().removesuffix(".")
        return host in self._exact or host.endswith(self._ends)


def checked_hosts(patterns: tuple[str, ...]) -> tuple[str, ...]:
    """Return patterns as they are compared.

    Raises:
        ValueError: one is none.
    """
    found = tuple(map(_compared, patterns))
    for one in found:
        if not _PATTERN.fullmatch(one):
            raise ValueError(f"{one!r} is not a host; expected login.example.com, *.example.com or *")
    return found


def is_pattern(text: str) -> bool:
    """Return whether a text is a pattern; the host of a URL that can't be read may be none."""
    return _PATTERN.fullmatch(_compared(text)) is not None


def _compared(pattern: str) -> str:
    return pattern.casefold().strip("[]").removesuffix(".")
