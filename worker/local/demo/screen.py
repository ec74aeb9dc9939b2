"""The demo on a terminal: what runs where, every account's token running down and coming back, what happened last.

Pure: a `Picture` and a size in, something that Rich prints out. It fits 80 columns and 24 lines, and uses more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from msgspec import Struct
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from models.event import EventType
from models.tables.account import SessionManagement, Status
from worker.local.demo.watch import Picture, Seen
from worker.redis.event_stream import SeenEvent

#: From so many columns on, events stand beside the accounts instead of below them.
WIDE: Final = 118
#: The table's 80 columns, and the space behind it.
_ACCOUNTS_WIDTH: Final = 81
_BAR_CELLS: Final = 8
_TIME_CELLS: Final = 6
#: Below this much of its life a token that is about to be refreshed turns yellow.
_LOW: Final = 0.35
#: Of the lines below the header, events get this much where they stand below the accounts.
_EVENTS_SHARE: Final = 0.3
_JUST_NOW_S: Final = 2.0
#: What happened to a process is not pushed out by refreshes for so long.
_PROCESS_EVENT_S: Final = 12.0
#: A terminal that has no room for even so much shows the top of it.
_LEAST_LINES: Final = 6

STATUS_STYLES: Final = {
    Status.ACTIVE: "green",
    Status.DEGRADED: "yellow",
    Status.REAUTHORIZE: "red",
    Status.MISCONFIGURED: "red",
    Status.DISABLED: "dim",
}
#: What happens to processes, among what happens to accounts.
ENDED: Final = "ended"
RUNS_AGAIN: Final = "runs again"
EVENT_STYLES: Final[Mapping[str, str]] = {
    ENDED: "red",
    RUNS_AGAIN: "green",
    EventType.REFRESHED: "green",
    EventType.FAILED: "red",
    EventType.DEGRADED: "yellow",
    EventType.REAUTHORIZE: "red",
    EventType.MISCONFIGURED: "red",
    EventType.RECOVERED: "green",
    EventType.EXPIRING: "yellow",
}


class Place(Struct, frozen=True):
    """What runs where, for the header, and what a person may try, below."""

    facts: Sequence[tuple[str, str]]
    hints: Sequence[tuple[str, str]]


def screen(picture: Picture, place: Place, *, width: int, height: int, running_s: float) -> RenderableType:
    """Return the whole screen.

    Args:
        picture: what was seen.
        place: what runs where.
        width: columns.
        height: lines.
        running_s: since when it runs, seconds.
    """
    top = [_title(picture, running_s), *_facts(place), Text()]
    bottom = [Text(), *_hints(place.hints, width)]
    room = max(height - len(top) - len(bottom), _LEAST_LINES)
    middle = _beside(picture, room) if width >= WIDE else _stacked(picture, room)
    return Group(*top, middle, *bottom)


def _stacked(picture: Picture, room: int) -> RenderableType:
    events = max(2, int(room * _EVENTS_SHARE))
    return Group(_accounts(picture, room - events - 1), Text(), *_events(picture, events))


def _beside(picture: Picture, room: int) -> RenderableType:
    grid = Table.grid(padding=0, expand=True)
    grid.add_column(width=_ACCOUNTS_WIDTH)
    grid.add_column(ratio=1)
    events = Group(Text(" ago  what happened", style="bold"), *_events(picture, room - 1))
    grid.add_row(_accounts(picture, room), events)
    return grid


def _title(picture: Picture, running_s: float) -> Text:
    """Say in one line how it goes: the two last numbers are the point of it all."""
    title = Text("refreshd demo", style="bold", no_wrap=True, overflow="ellipsis")
    title.append(f"  {short_time(running_s)}", style="not bold dim")
    title.append(f"  {picture.refreshed:,} refreshed", style="not bold green")
    title.append(f"  {picture.failed:,} failed", style="not bold red" if picture.failed else "not bold")
    if picture.trouble:
        title.append(f"  {picture.trouble[0]}", style="not bold red")
        return title
    for number, words in ((picture.reuses, "reused tokens"), (picture.lost, "lost grants")):
        style = "not bold red" if number else "not bold green"
        title.append(f"  {number or 0:,} {words}", style=style)
    return title


def _facts(place: Place) -> list[Text]:
    return [
        Text.assemble((f"{name:<10} ", "dim"), value, no_wrap=True, overflow="ellipsis")
        for name, value in place.facts
    ]


def _hints(hints: Sequence[tuple[str, str]], width: int) -> list[Text]:
    """Return commands to copy: never cut, folded where they must be; explained where there is room."""
    lines = [Text("Try in another terminal", style="bold")]
    indent = "  "
    column = max(len(command) for command, words in hints if words) + 3
    for command, words in hints:
        line = indent + command
        if words and len(indent) + column + len(words) <= width:
            lines.append(Text.assemble((f"{indent}{command:<{column}}", "cyan"), (words, "dim")))
        else:
            lines += [Text(line[at : at + width], style="cyan") for at in range(0, len(line), width)]
    return lines


def _accounts(picture: Picture, lines: int) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", pad_edge=False)
    table.add_column("account", no_wrap=True)
    table.add_column("provider", no_wrap=True)
    table.add_column("policy", no_wrap=True)
    table.add_column("status", width=13, no_wrap=True)
    table.add_column("gen", justify="right", no_wrap=True)
    table.add_column("token left", width=_BAR_CELLS + _TIME_CELLS, no_wrap=True)
    table.add_column("refresh", justify="right", width=10, no_wrap=True)
    rows = sorted(picture.accounts, key=_needs_attention, reverse=True)
    fit = lines - 1 if len(rows) <= lines - 1 else lines - 2
    for seen in rows[: max(fit, 1)]:
        table.add_row(*_row(seen, picture.now))
    if left := rows[max(fit, 1) :]:
        table.add_row(Text(f"+ {len(left)} more", style="dim"))
    return table


def _needs_attention(seen: Seen) -> bool:
    """Those that fail stand first; the others keep their place, so that no row jumps."""
    return seen.state is not None and seen.state.status not in {Status.ACTIVE, Status.DISABLED}


def _row(seen: Seen, now: float) -> list[Text]:
    state = seen.state
    if state is None:
        return [*_named(seen), Text("not seen yet", style="dim")]
    status = Status(state.status)
    fresh = (
        seen.last is not None and seen.last.kind == EventType.REFRESHED and now - seen.last.at < _JUST_NOW_S
    )
    return [
        *_named(seen, style="bold" if fresh else ""),
        Text(status.value, style=STATUS_STYLES[status]),
        Text(f"{state.generation:,}", style="bold green" if fresh else ""),
        _left(seen, now),
        _next(seen, now, fresh=fresh),
    ]


def _named(seen: Seen, style: str = "") -> list[Text]:
    account = seen.account
    return [
        Text(account.id, style=style),
        Text(account.kind.provider, style="dim"),
        Text(account.policy, style="dim"),
    ]


def _left(seen: Seen, now: float) -> Text:
    """Draw the life that a token has left; say why there is none."""
    token = seen.token
    if token is None:
        return Text((seen.state and seen.state.reason) or "no token", style="red")
    if token.expires_at is None or token.issued_at is None:
        return Text("no known end", style="dim")
    left_s = max(token.expires_at - now, 0.0)
    share = left_s / max(token.expires_at - token.issued_at, 0.001)
    cells = min(_BAR_CELLS, round(share * _BAR_CELLS))
    return Text.assemble(
        ("━" * cells, "yellow" if share < _LOW else "green"),
        ("╌" * (_BAR_CELLS - cells), "bright_black"),
        f"{short_time(left_s):>{_TIME_CELLS}}",
    )


def _next(seen: Seen, now: float, *, fresh: bool) -> Text:
    state = seen.state
    if fresh:
        return Text("refreshed", style="green")
    if seen.account.story is not None and _needs_attention(seen):
        return Text("on purpose", style="yellow")
    if state is None or state.next_refresh_at is None:
        by_hand = seen.account.session_management is SessionManagement.NONE
        return Text("by hand" if by_hand else "-", style="dim")
    wait_s = state.next_refresh_at - now
    return Text("now" if wait_s < 1 else f"in {short_time(wait_s)}")


def _events(picture: Picture, lines: int) -> list[Text]:
    """Return the newest events, the newest first; what happened to processes stays on top for a while."""
    newest = list(reversed(picture.events))
    newest.sort(key=lambda event: _is_of_a_process(event, picture.now), reverse=True)
    shown = [
        Text.assemble(
            (f"{short_time(max(picture.now - event.at, 0)):>4}  ", "dim"),
            event_line(event),
            no_wrap=True,
            overflow="ellipsis",
        )
        for event in newest[: max(lines, 0)]
    ]
    return shown + [Text()] * (lines - len(shown))


def _is_of_a_process(event: SeenEvent, now: float) -> bool:
    return event.kind in {ENDED, RUNS_AGAIN} and now - event.at < _PROCESS_EVENT_S


def event_line(event: SeenEvent) -> Text:
    """Say an event in a line."""
    said = f"gen {event.generation}" if event.kind == EventType.REFRESHED else event.reason
    return Text.assemble(
        f"{event.about:<7} ",
        (event.kind, EVENT_STYLES.get(event.kind, "")),
        f" {said}",
        no_wrap=True,
        overflow="ellipsis",
    )


def totals(picture: Picture) -> str:
    """Say in a line how it went so far."""
    words = f"{picture.refreshed:,} refreshed, {picture.failed:,} failed"
    if picture.reuses is None:
        return f"{words}; the provider does not answer"
    return f"{words}, {picture.reuses:,} refresh tokens used twice, {picture.lost:,} grants lost"


def short_time(seconds: float) -> str:
    """Say a duration in four characters or so: `9s`, `2m05`, `1h03`."""
    whole = int(seconds)
    if whole < 60:  # noqa: PLR2004
        return f"{whole}s"
    if whole < 3600:  # noqa: PLR2004
        return f"{whole // 60}m{whole % 60:02d}"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}"
