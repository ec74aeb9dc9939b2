"""Plots of `status` on a terminal: when refreshes are due, and what came of the last hour's calls. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rich.columns import Columns
from rich.console import RenderableType
from rich.text import Text

from worker.db.fleet.timeline import HOURS, SLICE_S, SLICES, Timeline

#: Lines of a plot; each has eight steps where the terminal draws block characters.
HEIGHT: Final = 5
#: Cells of a bar: a plot of 24 hours and one of twelve slices stand side by side in 80 columns.
_BAR_CELLS: Final = 2
_EIGHTHS: Final = " ▁▂▃▄▅▆▇█"
#: What a terminal without block characters draws: an empty cell, or a full one.
_PLAIN: Final = " #"


def charts(seen: Timeline, *, blocks: bool) -> RenderableType:
    """Return both plots, side by side where there is room.

    Args:
        seen: what is drawn.
        blocks: whether the terminal's encoding has block characters.
    """
    steps = _EIGHTHS if blocks else _PLAIN
    return Columns([_due(seen, steps), _calls(seen, steps)], padding=(0, 4, 1, 0))


def _due(seen: Timeline, steps: str) -> Text:
    most = max(seen.due)
    plot = Text.assemble(("due in 24 hours ", "bold"), f"{sum(seen.due):,}, most in an hour {most:,}\n")
    for line in _columns(seen.due, most, steps):
        plot.append(f"{line}\n", style="cyan")
    marks = [f"+{hour}h" if hour else "now" for hour in range(0, HOURS, HOURS // 4)]
    return plot.append("".join(mark.ljust(HOURS * _BAR_CELLS // 4) for mark in marks), style="dim")


def _calls(seen: Timeline, steps: str) -> Text:
    done, failed = [one.refreshed for one in seen.calls], [one.failed for one in seen.calls]
    most = max(done + failed)
    about = "about " if seen.sampled else ""
    plot = Text.assemble(
        ("last hour ", "bold"),
        (f"{about}{sum(done):,} refreshed", "green" if sum(done) else "dim"),
        ", ",
        (f"{sum(failed):,} failed\n", "red" if sum(failed) else "dim"),
    )
    for good, bad in zip(_columns(done, most, steps, 1), _columns(failed, most, steps, 1), strict=True):
        for nth in range(SLICES):
            plot.append(good[nth], style="green").append(bad[nth], style="red").append(" ")
        plot.append("\n")
    minutes = SLICES * SLICE_S // 60
    width = SLICES * (_BAR_CELLS + 1)
    return plot.append(
        f"-{minutes}m".ljust(width // 2) + f"-{minutes // 2}m".ljust(width // 2 - 3) + "now", "dim"
    )


def _columns(values: Sequence[int], most: int, steps: str, cells: int = _BAR_CELLS) -> list[str]:
    """Return the lines of a plot of columns, the top first; what is not nothing has at least the smallest step."""
    full = len(steps) - 1
    heights = [max(round(value * HEIGHT * full / most), 1) if value else 0 for value in values]
    return [
        "".join(steps[min(max(height - line * full, 0), full)] * cells for height in heights)
        for line in reversed(range(HEIGHT))
    ]
