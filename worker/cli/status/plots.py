"""Plots of the page that `status --html` writes: SVG that stands inside the page, and runs no script."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, Final
from xml.etree.ElementTree import Element

from markupsafe import Markup
from pygal import Bar, Config, HorizontalStackedBar, Line, StackedBar
from pygal.style import Style

from worker.db.fleet.timeline import HOURS, SLICE_S, SLICES, TOKEN_ENDS_S, Timeline
from worker.durations import duration

# pygal leaves a finder of plugins in `sys.meta_path` that Python 3.12 no longer reads, and of which 3.11 warns at each
# import after it; none of its plugins are used.
sys.meta_path[:] = [finder for finder in sys.meta_path if not type(finder).__module__.startswith("pygal")]

#: Providers that are drawn: more bars could not be told apart.
PROVIDERS_MAX: Final = 12
#: The page's own colours, light and dark.
_GOOD, _BAD, _CALM, _WORSE = "var(--good)", "var(--bad)", "var(--calm)", "var(--worse)"
#: Below this, a scale would count halves of an account.
_SCALE_LEAST: Final = 5
#: Shares of planned refreshes that were less late than a line.
_LATENESS: Final = {"half": 0.5, "95 of 100": 0.95, "latest": 1.0}


def due_plot(seen: Timeline) -> Markup:
    """Draw the accounts that come due, hour by hour."""
    chart = Bar(_config("Due in the next 24 hours", [_CALM]), show_legend=False)
    chart.x_labels = [f"+{hour}h" if hour % 3 == 0 else "" for hour in range(HOURS)]
    chart.add("accounts due", list(seen.due))
    return _counted(chart, max(seen.due, default=0))


def ends_plot(ends: Sequence[int]) -> Markup:
    """Draw how many tokens end within which time."""
    chart = Bar(_config("Tokens by time to end", [_CALM]), show_legend=False)
    names = [duration(end_s) for end_s in TOKEN_ENDS_S[1:]]
    chart.x_labels = ["ended", *(f"< {name}" for name in names), f"> {names[-1]}"]
    chart.add("tokens", [{"value": ends[0], "color": _BAD}, *ends[1:]])
    return _counted(chart, max(ends, default=0))


def calls_plot(seen: Timeline) -> Markup:
    """Draw the last hour's calls, five minutes a bar."""
    chart = StackedBar(_config("Calls of the last hour", [_GOOD, _BAD]))
    chart.x_labels = _minutes()
    chart.add("refreshed", [one.refreshed for one in seen.calls])
    chart.add("failed", [one.failed for one in seen.calls])
    return _counted(chart, max((one.refreshed + one.failed for one in seen.calls), default=0))


def providers_plot(seen: Timeline) -> Markup:
    """Draw the last hour's calls by provider, those with most calls on top."""
    providers = seen.by_provider()
    shown = dict(list(providers.items())[:PROVIDERS_MAX])
    some = "" if len(shown) == len(providers) else f" ({len(shown)} of {len(providers):,})"
    chart = HorizontalStackedBar(_config(f"Calls by provider, last hour{some}", [_GOOD, _BAD]))
    names = list(reversed(shown))  # pygal begins at the bottom
    chart.x_labels = names
    chart.add("refreshed", [shown[name][0] for name in names])
    chart.add("failed", [shown[name][1] for name in names])
    return _counted(chart, max((sum(shown[name]) for name in names), default=0))


def _counted(chart: Any, most: int) -> Markup:
    """Draw a chart of whole things."""
    if most < _SCALE_LEAST:
        chart.range = (0, _SCALE_LEAST)
    return _drawn(chart)


def lateness_plot(seen: Timeline) -> Markup:
    """Draw how late planned refreshes were begun, seconds."""
    chart = Line(
        _config("Lateness of planned refreshes, seconds", [_GOOD, _CALM, _WORSE]),
        dots_size=3,
        include_x_axis=True,
    )
    chart.x_labels = _minutes()
    for name, share in _LATENESS.items():
        late = [one.late_at(share) for one in seen.calls]
        chart.add(name, [None if value is None else round(value, 1) for value in late])
    return _drawn(chart)


def _config(title: str, colours: Sequence[str]) -> Config:
    style = Style(
        background="transparent",
        plot_background="transparent",
        foreground="var(--quiet)",
        foreground_strong="var(--text)",
        foreground_subtle="var(--line)",
        colors=tuple(colours),
        opacity="1",
        opacity_hover="0.8",
        transition="none",
        guide_stroke_color="var(--line)",
        major_guide_stroke_color="var(--line)",
        font_family="inherit",
        title_font_size=18,
        label_font_size=13,
        major_label_font_size=13,
        legend_font_size=14,
        no_data_font_size=20,
    )
    return Config(
        title=title,
        style=style,
        # A script of another site's is what pygal draws tooltips with.
        js=(),
        width=640,
        height=340,
        margin=10,
        legend_at_bottom=True,
        legend_at_bottom_columns=len(colours),
        legend_box_size=12,
        integer_scale=True,
        min_scale=3,
        max_scale=6,
        truncate_label=-1,
        formatter=lambda value: "" if value is None else f"{value:,g}",
        no_data_text="nothing yet",
        disable_xml_declaration=True,
    )


def _drawn(chart: Any) -> Markup:
    chart.add_xml_filter(_without_scripts)
    return Markup(chart.render(is_unicode=True))  # noqa: S704  (pygal escapes what is in an SVG)


def _without_scripts(root: Element) -> Element:
    for parent in list(root.iter()):
        for child in [one for one in parent if str(one.tag).rpartition("}")[2] == "script"]:
            parent.remove(child)
    return root


def _minutes() -> list[str]:
    return [f"-{(SLICES - nth) * SLICE_S // 60}m" for nth in range(SLICES)]
