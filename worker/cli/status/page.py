"""`refreshd status --html FILE`: the fleet on one page that needs no other file, no network and no script."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from sqlalchemy import Engine

from models.tables.account import Status
from worker.cli.status.plots import calls_plot, due_plot, ends_plot, lateness_plot, providers_plot
from worker.cli.terminal.files import require_no_device
from worker.db.fleet.counts import Fleet
from worker.db.fleet.timeline import timeline, token_ends
from worker.durations import duration
from worker.errors import RefreshdError

#: A page on a wall looks again so often, seconds; `--watch` writes it as often.
PAGE_EVERY_S: Final = 30

_pages: Final = Environment(
    loader=PackageLoader("worker.cli.status", "pages"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    auto_reload=False,
)


def page(engine: Engine, fleet: Fleet, *, reload: bool = False) -> str:
    """Return the page.

    Args:
        engine: the database.
        fleet: its numbers.
        reload: have a browser load it again by itself.
    """
    seen = timeline(engine, lateness=True)
    plots = [
        calls_plot(seen),
        ends_plot(token_ends(engine)),
        providers_plot(seen),
        lateness_plot(seen),
        due_plot(seen),
    ]
    statuses = {
        one.value: sum(number for (_, of), number in fleet.by_status.items() if of == one) for one in Status
    }
    return _pages.get_template("status.html").render(
        at=datetime.fromtimestamp(fleet.now, UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
        reload_s=PAGE_EVERY_S if reload else 0,
        accounts=fleet.accounts,
        statuses=statuses,
        overdue=fleet.overdue,
        oldest="" if fleet.oldest_due_at is None else duration(fleet.now - fleet.oldest_due_at),
        calls=[sum(one.refreshed for one in seen.calls), sum(one.failed for one in seen.calls)],
        sampled=seen.sampled,
        failing=[(*key, number) for key, number in fleet.failing.items()],
        plots=plots,
    )


def write_page(path: Path, text: str) -> None:
    """Write a page at once: a browser that looks meanwhile sees the old one or the new one.

    Raises:
        RefreshdError: the file can't be written.
    """
    require_no_device(path)
    made = None
    try:
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", dir=path.parent, prefix=f".{path.name}.", delete=False
        ) as file:
            made = Path(file.name)
            file.write(text)
        made.chmod(0o666 & ~_umask())
        made.replace(path)
    except OSError as error:
        if made is not None:
            with suppress(OSError):
                made.unlink(missing_ok=True)
        raise RefreshdError(
            f"{path} can't be written: {error.strerror or error}; name a file in a folder that is there"
        ) from None


def _umask() -> int:
    """Return the process' umask, which can only be read by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
