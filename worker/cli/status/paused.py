"""Lines of `status` about accounts that a pause or a closed gate holds, and about clients whose secret ends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from rich.text import Text

from models.pause_scope import PauseEntry
from worker.cli.pause import pause_json, words_of
from worker.cli.terminal.console import accounts_words, ago_or_in
from worker.db.fleet.client_secrets import EndingSecret
from worker.db.fleet.counts import Fleet
from worker.monitoring.gate_status import GateStatus, Returning

#: Pauses and gates listed one by one.
NAMED_MAX: Final = 5


def pause_lines(pauses: Sequence[PauseEntry], fleet: Fleet) -> list[Text]:
    """Return the pauses, how many due accounts they hold, and how many of their tokens have ended."""
    lines = [
        Text(f"paused          {words_of(one, now=fleet.now)}", style="yellow") for one in pauses[:NAMED_MAX]
    ]
    if len(pauses) > NAMED_MAX:
        lines.append(
            Text(f"                and {len(pauses) - NAMED_MAX:,} more: `refreshd pause`", style="yellow")
        )
    waiting, ended = waiting_and_ended(fleet)
    if lines and (waiting or ended):
        words = f"  held          {waiting:,} due accounts wait"
        lines.append(
            Text(f"{words}, {ended:,} of their tokens have ended", style="bold red")
            if ended
            else Text(words, style="yellow")
        )
    return lines


def waiting_and_ended(fleet: Fleet) -> tuple[int, int]:
    """Return how many accounts are due and paused, and how many of them have no usable token any more."""
    held = fleet.set_aside.values()
    ended = sum(one.ended for one in held) if fleet.ended is None else fleet.ended
    return sum(one.accounts for one in held) + fleet.held_by_all, ended


def gate_lines(gates: Sequence[GateStatus], *, now: float) -> list[Text]:
    """Return the closed gates: why, which accounts they hold, and which account is called next."""
    lines = []
    for one in gates[:NAMED_MAX]:
        lines.append(Text(f"gate closed     {one.sentence(now)}", style="red"))
        ended = f", {one.held.ended:,} of them without a living token" if one.held.ended else ""
        lines.append(
            Text(
                f"  holds         {accounts_words(one.held.accounts)}{ended}; {one.next_words(now)}",
                style="yellow",
            )
        )
        if one.held.too_many:
            lines.append(
                Text(
                    f"  too many      {one.held.too_many:,} healthy accounts end before their turn, at "
                    f"{one.gate.calls_per_s:g} calls a second: raise the provider's requests_per_s if it takes more",
                    style="bold red",
                )
            )
    if len(gates) > NAMED_MAX:
        lines.append(
            Text(
                f"                and {len(gates) - NAMED_MAX:,} more gates: `refreshd status --json`",
                style="red",
            )
        )
    return lines


def returning_lines(returning: Sequence[Returning]) -> list[Text]:
    """Return the gates that have opened, and how many accounts have yet to come back."""
    return [Text(f"gate opened     {one.sentence}", style="yellow") for one in returning[:NAMED_MAX]]


def secret_lines(secrets: Sequence[EndingSecret], *, now: float) -> list[Text]:
    """Return the clients whose secret ends soon, or has ended."""
    lines = [
        Text(
            f"secret ends     client {one.client} ({one.provider}): {ago_or_in(one.expires_at, now=now)}, {accounts_words(one.accounts)}",
            style="bold red" if one.expires_at <= now else "yellow",
        )
        for one in secrets[:NAMED_MAX]
    ]
    if len(secrets) > NAMED_MAX:
        lines.append(Text(f"                and {len(secrets) - NAMED_MAX:,} more: `refreshd clients list`"))
    return lines


def held_json(
    pauses: Sequence[PauseEntry],
    fleet: Fleet,
    gates: Sequence[GateStatus] | None,
    returning: Sequence[Returning] = (),
) -> dict[str, Any]:
    """Return pauses and gates for scripts."""
    waiting, ended = waiting_and_ended(fleet)
    return {
        "pauses": [pause_json(one) for one in pauses],
        "paused_waiting": waiting,
        "paused_ended": ended,
        "gates": None if gates is None else [one.as_json() for one in gates],
        "gates_opened": None if gates is None else [one.as_json() for one in returning],
    }
