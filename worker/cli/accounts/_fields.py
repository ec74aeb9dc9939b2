"""FIELD=VALUE words of a command, and secrets that need not stand in one.

A command line is seen by every user of a machine, and kept in a shell's history. So a value may be `@FILE`, `@-`
(standard input) or `@@text` for a text that begins with @, and a secret's field alone is asked for, unseen, or
taken from the environment.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from worker.accounts.columns import ColumnKind, column_of
from worker.cli.terminal.prompts import ask
from worker.errors import UsageError

#: REFRESHD_ACCOUNT_CLIENT_SECRET and so on.
ENV_PREFIX: Final = "REFRESHD_ACCOUNT_"

_ASKED_FOR: Final = frozenset({ColumnKind.SECRET, ColumnKind.CUSTOM_FIELD})


def fields_of(words: Sequence[str]) -> dict[str, str]:
    """Read FIELD=VALUE words; a secret's FIELD alone is taken from the environment or asked for.

    Raises:
        UsageError: a word is neither, a field stands there twice, or there is no terminal to ask on.
    """
    found: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        name = name.strip()
        if not name:
            raise UsageError(f"{word!r}: expected FIELD=VALUE")
        if name in found:
            raise UsageError(f"{name}: is given twice")
        if equals:
            found[name] = value_of(name, value)
            continue
        column = column_of(name)
        if column is None or column.kind not in _ASKED_FOR:
            raise UsageError(f"{word!r}: expected FIELD=VALUE")
        found[name] = secret_of(name)
    return found


def value_of(name: str, text: str) -> str:
    """Return what a value stands for: itself, or a file's content.

    Raises:
        UsageError: the file can't be read.
    """
    if text.startswith("@@") or not text.startswith("@"):
        return text.removeprefix("@") if text.startswith("@@") else text
    try:
        content = sys.stdin.read() if text == "@-" else Path(text[1:]).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is not UTF-8 text"
        raise UsageError(f"{name}: {text[1:]}: {reason} (write @@ for a value that begins with @)") from None
    return content.removesuffix("\n")


def secret_of(name: str) -> str:
    """Return a secret from the environment, else ask for it without showing it.

    Raises:
        UsageError: it is not there, and there is no terminal to ask on.
    """
    variable = variable_of(name)
    if variable in os.environ:
        return os.environ[variable]
    if not sys.stdin.isatty():
        raise UsageError(f"{name}: set {variable}, or give {name}=@FILE: there is no terminal to ask on")
    return ask(name, hidden=True, optional=True)


def field_of(name: str) -> str:
    """Return our name of a field, which may be given by one of its other names; as it is, where that has its own unit."""
    column = column_of(name)
    if column is None or column.in_minutes or column.empty_means is not None:
        return name
    return column.name


def is_hidden(name: str) -> bool:
    """Return whether what is typed for a field is not shown."""
    column = column_of(name)
    return column is not None and column.kind in _ASKED_FOR


def variable_of(name: str) -> str:
    """Name the environment variable of a field."""
    return ENV_PREFIX + "".join(char if char.isalnum() else "_" for char in name).upper()
