"""`refreshd status` draws the next day and the last hour; `--html` writes them as a page that a browser shows alone."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from rich.console import Console
from sqlalchemy import Engine, text

from tests.integration.accounts.conftest import Refreshd
from tests.screenshots.browser import Browser, chromium_or_left_out
from worker.cli.status.charts import charts
from worker.db.engine import database_now, make_engine, writing
from worker.db.fleet.timeline import SAMPLE, SLICES, Calls, Timeline, timeline, token_ends

pytestmark = pytest.mark.usefixtures("three")

HOUR_S: Final = 3600
#: A provider of this name would run a script where it is not escaped.
HOSTILE: Final = "<script>document.title='gone'</script>"
_ATTEMPT: Final = text("""
INSERT INTO attempt (id, account_id, trigger, opened_at, closed_at, generation, config_version, outcome, repeats,
 next_refresh_at) VALUES (:id, :account, 'planned', :at, :at, 1, 1, :outcome, 1, :next)
""")


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """SQLite alone: tests/integration/refresh/test_query_plans.py runs the same SQL on both databases."""
    return sqlite_url


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    made = make_engine(database_url)
    yield made
    made.dispose()


def past(engine: Engine, *attempts: tuple[str, float, str, float | None]) -> float:
    """Write attempts: account, seconds ago, outcome, and when the next is due after that, seconds; return now."""
    with writing(engine) as connection:
        now = database_now(connection)
        for nth, (account, ago_s, outcome, next_s) in enumerate(attempts):
            at = now - ago_s
            row = {"id": f"{nth:024}", "account": account, "at": at, "outcome": outcome}
            connection.execute(_ATTEMPT, row | {"next": None if next_s is None else at + next_s})
    return now


def test_outcomes_are_counted_by_five_minutes_and_provider(engine: Engine) -> None:
    past(
        engine,
        ("a", 3500, "refreshed", None),
        ("a", 400, "refreshed", None),
        ("b", 390, "retry", None),
        ("c", 20, "not_due", None),
        ("removed", 10, "invalid", None),
        ("a", 3700, "refreshed", None),
    )
    seen = timeline(engine)
    assert [(one.refreshed, one.failed) for one in seen.calls] == [
        *((1, 0), *[(0, 0)] * (SLICES - 3), (1, 1), (0, 0))
    ]
    assert seen.by_provider() == {"acme": (2, 0), "other": (0, 1)}
    assert not seen.sampled


def test_lateness_is_from_the_due_time_that_the_attempt_before_has_set(engine: Engine) -> None:
    past(engine, ("a", 5000, "refreshed", 4880), ("a", 100, "refreshed", None), ("b", 90, "retry", None))
    [late] = [one.late_s for one in timeline(engine, lateness=True).calls if one.late_s]
    assert late == pytest.approx([20.0])
    assert timeline(engine).calls[-1].late_at(0.5) is None


def test_of_a_busy_minute_some_attempts_stand_for_all(engine: Engine) -> None:
    past(engine, *[("a", 30.0 + nth / 100, "refreshed", None) for nth in range(SAMPLE * 2)])
    seen = timeline(engine)
    assert (seen.sampled, seen.calls[-1].refreshed) == (True, SAMPLE * 2)


def test_due_times_and_ends_of_tokens_are_counted_in_ranges(engine: Engine) -> None:
    with writing(engine) as connection:
        now = database_now(connection)
        for account, due_s, end_s in (("a", 600, 1200), ("b", 23.5 * HOUR_S, 90_000), ("c", -5, -1)):
            connection.execute(
                text("UPDATE account SET next_refresh_at = :due, expires_at = :end WHERE id = :id"),
                {"id": account, "due": now + due_s, "end": now + end_s},
            )
    assert list(timeline(engine).due) == [1, *[0] * 22, 1]
    assert token_ends(engine) == [1, 0, 0, 0, 1, 0, 0, 1]


@pytest.mark.parametrize(("blocks", "drawn"), [(True, "██"), (False, "##")])
def test_a_terminal_gets_both_plots_in_80_columns(*, blocks: bool, drawn: str) -> None:
    calls = [Calls({("acme", "refreshed"): 90, ("acme", "retry"): 1})] * SLICES
    file = io.StringIO()
    seen = Timeline(0.0, [10, *[0] * 22, 1], calls, sampled=False)
    Console(file=file, width=90).print(charts(seen, blocks=blocks))
    lines = file.getvalue().splitlines()
    words = "due in 24 hours 11, most in an hour 10 last hour 1,080 refreshed, 12 failed"
    assert " ".join(lines[0].split()) == words
    assert lines[1].startswith(drawn)
    assert lines[5][46:48].strip(), "what is not nothing is seen"


def test_status_draws_and_its_json_has_the_same_numbers(engine: Engine, refreshd: Refreshd) -> None:
    past(engine, ("a", 100, "refreshed", None), ("b", 100, "reauthorize", None))
    assert "last hour 1 refreshed, 1 failed" in refreshd("status").stdout
    seen = refreshd("status", "--json").json
    assert seen["last_hour"][-1] == {"refreshed": 1, "failed": 1}
    assert len(seen["due_next_24h"]) == 24


def test_a_page_is_for_the_whole_fleet_and_for_people(refreshd: Refreshd, tmp_path: Path) -> None:
    page = str(tmp_path / "page.html")
    assert refreshd("status", "--html", page, "--json").exit_code == 2
    assert refreshd("status", "--html", page, "--label", "a=b").exit_code == 2
    missing = refreshd("status", "--html", str(tmp_path / "none/page.html"))
    assert missing.exit_code == 1
    assert "none/page.html can't be written: No such file" in missing.stderr


@pytest.fixture(scope="module")
def window() -> Iterator[Browser]:
    with chromium_or_left_out() as browser:
        yield browser


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1400, 500])
def test_a_browser_shows_the_page_alone(
    engine: Engine, refreshd: Refreshd, tmp_path: Path, window: Browser, width: int, scheme: str
) -> None:
    past(engine, ("a", 100, "refreshed", None), ("b", 100, "retry", None))
    with writing(engine) as connection:
        connection.execute(text("UPDATE account SET provider = :name WHERE id = 'b'"), {"name": HOSTILE})
    file = tmp_path / "page.html"
    done = refreshd("status", "--html", str(file))
    assert (done.exit_code, done.stderr.replace("\n", "")) == (0, f"Written to {file}")
    window.resize(width, 1200)
    window.devtools(
        "Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}]
    )
    window.open(file.as_uri())
    scripts, loaded, overflow, page, label = window.run("""
        const paint = (of, what) => getComputedStyle(document.querySelector(of))[what];
        return [document.scripts.length, performance.getEntriesByType('resource').length,
          document.documentElement.scrollWidth > innerWidth, paint('body', 'backgroundColor'),
          paint('figure svg .axis text', 'fill')]
    """)
    assert (scripts, loaded, overflow) == (0, 0, False)
    assert page == {"light": "rgb(243, 244, 246)", "dark": "rgb(18, 20, 24)"}[scheme]
    assert label == {"light": "rgb(26, 29, 35)", "dark": "rgb(236, 238, 242)"}[scheme]
    assert window.run("return [...document.querySelectorAll('svg .title')].map(one => one.textContent)") == [
        "Calls of the last hour",
        "Tokens by time to end",
        "Calls by provider, last hour",
        "Lateness of planned refreshes, seconds",
        "Due in the next 24 hours",
    ]
    assert HOSTILE in window.text("figure:nth-child(3)")
    drawn = window.run("return [...document.querySelectorAll('figure:first-child rect.reactive')].length")
    assert drawn, "bars are drawn"
