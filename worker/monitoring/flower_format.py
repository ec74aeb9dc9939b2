"""The format of a refresh in Flower: arguments and result as sentences instead of Python literals."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any, Final

#: Accounts named on a page; more would fill it.
NAMED_MAX: Final = 20
_GOOD: Final = "refreshed"
#: The list shows the first forty characters of a result: outcomes that need a person come first.
_WORST_FIRST: Final = ("reauthorize", "misconfigured", "retry", "rate_limited", "not_sent")


def in_words(task: Any) -> Any:
    """Return a task as Flower shows it. A text that Celery cut short can't be read and stays as it is.

    The API (`/api/tasks`) has the arguments and the result as they were sent.
    """
    if task.name == "refreshd.refresh":
        task.kwargs = _asked(_literal(task.kwargs)) or task.kwargs
        task.result = _came_of_it(_literal(task.result)) or task.result
    elif str(task.name).startswith("refreshd.") and task.result:
        task.kwargs = "" if task.kwargs == "{}" else task.kwargs
        task.result = _counted_up(_literal(task.result)) or task.result
    return task


def is_idle(result: object) -> bool:
    """Return whether a periodic task counted nothing, by its result as events have it; one that is cut short did not."""
    counts = _literal(result)
    return isinstance(counts, dict) and not any(
        isinstance(number, int | float) and number for number in counts.values()
    )


def _counted_up(result: object) -> str | None:
    """Return what a periodic task counted, without what it found none of."""
    match result:
        case dict() as found:
            return ", ".join(
                f"{str(name).replace('_', ' ')} {number}" for name, number in found.items() if number
            )
    return None


def _asked(arguments: object) -> str | None:
    match arguments:
        case {"accounts": list(accounts), **others}:
            names = [str(one[0]) for one in accounts if isinstance(one, list) and one]
            return f"{others.get('reason', 'planned')}: {_named(names, len(accounts))}"
    return None


def _came_of_it(result: object) -> str | None:
    match result:
        case {"accounts": dict(accounts), **counts} if all(
            isinstance(one, Mapping) for one in accounts.values()
        ):
            worst_first = sorted(counts.items(), key=lambda one: _rank(str(one[0])))
            return "; ".join(_counted(str(outcome), number, accounts) for outcome, number in worst_first)
    return None


def _rank(outcome: str) -> int:
    if outcome in _WORST_FIRST:
        return _WORST_FIRST.index(outcome)
    return len(_WORST_FIRST) + (outcome == _GOOD)


def _counted(outcome: str, number: object, accounts: Mapping[str, Mapping[str, object]]) -> str:
    words = f"{number} {outcome.replace('_', ' ')}"
    reasons = [
        f"{account}: {one.get('reason')}"
        for account, one in accounts.items()
        if one.get("outcome") == outcome
    ]
    return words if outcome == _GOOD or not reasons else f"{words} ({_named(reasons, len(reasons))})"


def _named(names: list[str], number: int) -> str:
    more = number - min(len(names), NAMED_MAX)
    return ", ".join(names[:NAMED_MAX]) + (f" and {more} more" if more > 0 else "")


def _literal(text: object) -> object:
    try:
        return ast.literal_eval(str(text))
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
