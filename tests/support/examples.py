"""How many cases a property is tried with: the profile decides, `--hypothesis-profile=small` or all of them."""

from __future__ import annotations

from typing import Any, Final

from hypothesis import settings

#: Hypothesis' own number, and the one that `examples` is given numbers beside.
FULL: Final = 100
#: Cases of a property in `make unit`: enough to see a rule that is broken everywhere.
SMALL: Final = 10


def register_profiles() -> None:
    """Register `full`, which is loaded, and `small`. A case may take as long as a busy machine makes it take."""
    settings.register_profile("full", max_examples=FULL, deadline=None)
    settings.register_profile("small", max_examples=SMALL, deadline=None)
    settings.load_profile("full")


def cases(full: int) -> int:
    """Return the number of cases that the profile makes of the full number."""
    return max(1, full * settings().max_examples // FULL)


def examples(full: int, **more: Any) -> settings:
    """Return settings with so many cases, as `@examples(400)`."""
    return settings(max_examples=cases(full), **more)
