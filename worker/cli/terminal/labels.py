"""The option `--label NAME=VALUE` of commands that are about some accounts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from models.label import label_of
from worker.errors import InputError

Labels = Annotated[
    list[str] | None,
    typer.Option(
        "--label", metavar="NAME=VALUE", help="A label; may be repeated, and accounts have all of them."
    ),
]


def labels_of(words: Sequence[str] | None) -> dict[str, str]:
    """Return the labels that the words of an option name.

    Raises:
        InputError: a word is none, or names a label twice.
    """
    found: dict[str, str] = {}
    for word in words or ():
        try:
            name, value = label_of(word)
        except ValueError as error:
            raise InputError("--label", f"{word[:60]!r}: {error}") from None
        if name in found:
            raise InputError("--label", f"{name} is given twice")
        found[name] = value
    return found
