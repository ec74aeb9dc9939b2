"""What of the fleet is held back, as lines of `status`: by a person's pause, by a breaker, by a provider's wish."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from rich.text import Text

from models.budget import Limits
from models.pause import Pause, Scope
from worker.cli.pause import pause_json, words_of
from worker.io.fleet import Fleet
from worker.io.traffic import Spending
from worker.policy.durations import duration

#: Pauses, and budgets in use, that are named one by one.
NAMED_MAX: Final = 5


def pause_lines(pauses: Sequence[Pause], fleet: Fleet) -> list[Text]:
    """Say what is paused, how much of it waits, and whose token has ended meanwhile."""
    lines = [
        Text(f"paused          {words_of(one, now=fleet.now)}", style="yellow") for one in pauses[:NAMED_MAX]
    ]
    if len(pauses) > NAMED_MAX:
        lines.append(
            Text(f"                and {len(pauses) - NAMED_MAX:,} more: `refreshd pause`", style="yellow")
        )
    waiting, ended = waiting_and_ended(pauses, fleet)
    if lines and (waiting or ended):
        words = f"  held          {waiting:,} due accounts wait"
        lines.append(
            Text(f"{words}, {ended:,} of their tokens have ended", style="bold red")
            if ended
            else Text(words, style="yellow")
        )
    return lines


def waiting_and_ended(pauses: Sequence[Pause], fleet: Fleet) -> tuple[int, int]:
    """Count the accounts that are due and paused, and those of them that have no usable token any more."""
    waiting, ended = sum(one.accounts for one in fleet.aside), sum(one.ended for one in fleet.aside)
    if any(one.scope == Scope.ALL for one in pauses):
        return waiting + fleet.overdue, fleet.ended or 0
    return waiting, ended


def budget_lines(spendings: Sequence[Spending], limits: Callable[[str], Limits]) -> list[Text]:
    """Say which providers are left alone and why, and the calls that are under way."""
    lines = []
    for one in spendings:
        if one.breaker_open_s is not None:
            probe = f"a probe in {duration(one.breaker_open_s)}" if one.breaker_open_s else "a probe is due"
            lines.append(Text(f"breaker open    {one.name}: it was found down; {probe}", style="red"))
        if one.paused_s is not None:
            lines.append(
                Text(
                    f"left alone      {one.name}: it asked for {duration(one.paused_s)} more", style="yellow"
                )
            )
    calling = sorted((one for one in spendings if one.in_flight), key=lambda one: -one.in_flight)
    if calling:
        words = ", ".join(f"{one.name} {_spent(one, limits(one.name))}" for one in calling[:NAMED_MAX])
        lines.append(Text(f"calls           {words}"))
    return lines


def _spent(one: Spending, limits: Limits) -> str:
    rate = "" if limits.requests_per_s is None else f", {limits.requests_per_s:g} a second at most"
    return f"{one.in_flight:,} of {limits.max_in_flight:,} at once{rate}"


def held_json(
    pauses: Sequence[Pause],
    fleet: Fleet,
    spendings: Sequence[Spending] | None,
    limits: Callable[[str], Limits],
) -> dict[str, Any]:
    """Give the same for scripts."""
    waiting, ended = waiting_and_ended(pauses, fleet)
    return {
        "pauses": [pause_json(one) for one in pauses],
        "paused_waiting": waiting,
        "paused_ended": ended,
        "budgets": None
        if spendings is None
        else [
            {
                "budget": one.name,
                "in_flight": one.in_flight,
                "max_in_flight": limits(one.name).max_in_flight,
                "requests_per_s": limits(one.name).requests_per_s,
                "paused_s": one.paused_s,
                "breaker_open": one.breaker_open_s is not None,
                "breaker_open_s": one.breaker_open_s,
            }
            for one in spendings
        ],
    }
