"""A reason: the word that programs compare, and what people need to know of it."""

from __future__ import annotations

from typing import Self


class Reason(str):
    """A reason's code, with its sentence, what users notice of it, and what an operator does about it.

    It is its code wherever a text is expected: in a row, a log line, a metric. `users_notice` and `action` are Markdown of
    the runbook, whose tables are made of them.
    """

    __slots__ = ("action", "message", "users_notice")

    message: str
    users_notice: str
    action: str

    def __new__(cls, code: str, message: str, users_notice: str = "nothing", action: str = "nothing") -> Self:
        """Return the reason of a code.

        Args:
            code: the word, as it is stored and published.
            message: what it means, one or two sentences.
            users_notice: what the users of an account see of it.
            action: what an operator does.
        """
        reason = super().__new__(cls, code)
        reason.message, reason.users_notice, reason.action = message, users_notice, action
        return reason

    def __reduce__(self) -> tuple[type[str], tuple[str]]:
        """Return what a copy, or another process, gets: the code."""
        return str, (str(self),)
