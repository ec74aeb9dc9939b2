"""Every error that refreshd raises on purpose.

    RefreshdError                 exit code 1
    ├── UsageError                2   what a person typed
    │   ├── SettingsError         2   an environment variable or a line of .env
    │   └── InputError            2   a field of an account or provider
    ├── UnknownAccount            3
    ├── Unreachable               4
    │   ├── DatabaseUnreachable   4
    │   └── RedisUnreachable      4
    ├── WaitTimedOut              5
    ├── ValueRefused              1   the database can't store a value of a row
    ├── KnobsUnfit                1   an account's own knobs, since its provider is described otherwise
    ├── SchemaOutdated            1   the database is not at this code's revision
    └── CipherError               1
        ├── KeyMissing            1   a sealed value names a key that is not configured
        └── SealBroken            1   a sealed value was cut, changed, or copied from another place

A package that has an error of its own puts it under one of these, so that it ends with the right exit code.

A message says what is wrong, where, and what to do about it; it never holds a secret.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

    from models.providers import Provider


class RefreshdError(Exception):
    """Something that a person can act on."""

    exit_code: ClassVar[int] = 1


class UsageError(RefreshdError):
    """A command, a file or a value that can't be understood."""

    exit_code = 2


class SettingsError(UsageError):
    """A setting that is missing, unreadable or contradicts another."""


class InputError(UsageError):
    """A field of an account or provider that can't be stored."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason


class UnknownAccount(RefreshdError):
    """No account has this id."""

    exit_code = 3

    def __init__(self, account_id: str, *, near: Sequence[str] = ()) -> None:
        meant = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
        super().__init__(
            f"unknown account {account_id!r}: `refreshd accounts list` shows the ids (they are case-sensitive).{meant}"
        )
        self.account_id = account_id


class Unreachable(RefreshdError):
    """A server that refreshd stands on does not answer."""

    exit_code = 4


class DatabaseUnreachable(Unreachable):
    """The database of REFRESHD_DATABASE_URL does not answer."""


class RowsLocked(DatabaseUnreachable):
    """Another transaction held a row for longer than a statement waits for it."""


class RedisUnreachable(Unreachable):
    """The Redis of REFRESHD_REDIS_URL does not answer."""


class WaitTimedOut(RefreshdError):
    """`--wait` ended before the refresh did."""

    exit_code = 5


class ValueRefused(RefreshdError):
    """The database refuses a value, so the transaction that has it stores nothing."""

    def __init__(self, cause: str) -> None:
        super().__init__(
            f"the database can't store one of its values ({cause}): correct or shorten that value"
        )


class KnobsUnfit(RefreshdError):
    """An account's own knobs contradict its provider as that is described now."""

    def __init__(self, account_id: str, provider: Provider, problems: Sequence[ErrorDetails]) -> None:
        said = "; ".join(
            ": ".join(
                filter(None, [".".join(map(str, one["loc"])), one["msg"].removeprefix("Value error, ")])
            )
            for one in problems
        )
        super().__init__(f"what account {account_id!r} sets itself does not fit its provider: {said}")
        #: The provider without them.
        self.provider = provider
        self.problems = problems


class SchemaOutdated(RefreshdError):
    """The database's schema is not the one this code works on."""


class CipherError(RefreshdError):
    """A sealed value that does not open."""


class KeyMissing(CipherError):
    """The key that sealed a value is not among REFRESHD_KEYS."""

    def __init__(self, key_id: str, where: str, source: str = "REFRESHD_KEYS") -> None:
        super().__init__(
            f"{where} is sealed with key {key_id!r}, which is not configured in {source}: "
            "add it there, after the first key, which encrypts"
        )
        self.key_id = key_id


class SealBroken(CipherError):
    """A sealed value was cut or changed, or belongs to another account or field."""
