"""Check that the database is not older than Redis: a backup was restored, or a replica promoted that lagged."""

from __future__ import annotations

from collections.abc import Iterator

from worker.context import AppContext
from worker.db.repair.lost_commits import compare, lineage, searched
from worker.diagnostics.doctor.result import CheckResult, ok, warning
from worker.durations import duration


def check_lost_commits(here: AppContext) -> Iterator[CheckResult]:
    """Compare generations of the accounts that are due first, and show what the last search after a promotion found."""
    found = compare(here.engine, here.redis, here.keys)
    if found.rows:
        account, (row, seen) = next(iter(sorted(found.rows.items())))
        yield warning(
            "lost commits",
            f"{len(found.rows):,} of the {found.compared:,} accounts that are due first are older in the database than in "
            f"Redis ({account}: generation {row} against {seen}): a backup was restored, or a replica promoted that lagged. "
            f"Redis keeps the answers of {found.answers:,} of them, which the next refresh of each stores again; where "
            "refresh tokens rotate, the others' are spent",
            "`refreshd db restored` keeps those answers until they are stored, and raises the others' generations",
        )
    now, (name, kept, at) = lineage(here.engine), searched(here.engine)
    if kept and at is not None:
        yield ok(
            "lost commits",
            f"the database's history changed (timeline {_timeline(name)}), {duration(max(here.clock.now() - at, 0.0))} ago it "
            f"was compared with Redis: {kept:,} accounts were behind, and Redis had kept their answers",
        )
    if now is not None and name is not None and now != name:
        yield warning(
            "lost commits",
            f"the database's history changed (timeline {_timeline(now)}, {_timeline(name)} before) and was not compared with "
            "Redis yet",
            "a worker does so within a minute; `refreshd db restored` does so now",
        )


def _timeline(name: str | None) -> str:
    """Return the timeline of a lineage as PostgreSQL counts it."""
    digits = (name or "").rpartition("/")[2]
    return str(int(digits, 16)) if digits else "unknown"
