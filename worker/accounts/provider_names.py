"""Names of providers that a person may have meant: those that accounts have, and those of presets."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Final

#: So many are offered.
_OFFERED: Final = 3
#: Names that can be stored are spoken of where they are nearer than this: letters exchanged, one too many, one too few.
_NEAR_ONE_IN_USE: Final = 0.75
_NEAR_A_PRESET: Final = 0.85


def names_meant(name: str, known: Iterable[str], in_use: Iterable[str] = ()) -> list[str]:
    """Return names for one that can't be used: alike ones in use first, a vendor's own presets, then others spelled alike.

    Args:
        name: as it was written.
        known: names of presets; those that others build on stand before them.
        in_use: names that accounts have.
    """
    wanted, presets = name.casefold(), list(known)
    alike = [
        *get_close_matches(wanted, list(in_use)),
        *vendors_own(name, presets),
        *get_close_matches(wanted, presets),
    ]
    return list(dict.fromkeys(alike))[:_OFFERED]


def vendors_own(name: str, known: Iterable[str]) -> list[str]:
    """Return the presets that begin with a bare vendor's name, such as `microsoft`."""
    return [one for one in known if one.startswith(f"{name.casefold()}-")]


def new_name_note(name: str, known: Iterable[str], in_use: Iterable[str]) -> str | None:
    """Return what to say of a name that was stored, is no preset's, and that no other account has; None where nothing is near."""
    presets, used = list(known), list(in_use)
    if name in presets or name in used:
        return None
    if near := get_close_matches(name, used, 1, _NEAR_ONE_IN_USE):
        return f"note: provider {name!r} is new; accounts here use {near[0]!r}"
    if near := get_close_matches(name, presets, 1, _NEAR_A_PRESET):
        return f"note: provider {name!r} is new; there is a preset {near[0]!r}"
    return None
