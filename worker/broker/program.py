"""Which of Celery's programs this process is becoming: `celery -A worker.app worker|beat|flower|...`."""

from __future__ import annotations

import click


def program() -> str | None:
    """Return its name; None where Celery's command line did not start this process (a pool that is spawned, a test)."""
    context = click.get_current_context(silent=True)
    return None if context is None else context.find_root().invoked_subcommand
