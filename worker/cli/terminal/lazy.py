"""Commands that are imported when they are asked for: what one stands on takes longer to load than most take to run."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand
from typer.main import get_command, get_group

from worker.broker.gc_freeze import kept


class LazyCommand(TyperCommand):
    """Stands for a command until then: its name, and the line that the page above it shows."""

    def load(self) -> Any:
        """Import the command, or the group of commands."""
        found: Any = self.callback() if self.callback is not None else None
        if isinstance(found, typer.Typer):
            group = get_group(found)
            group.name = self.name
            return group
        alone = typer.Typer(add_completion=False)
        alone.command(self.name)(found)
        return get_command(alone)

    def make_context(self, *args: Any, **extra: Any) -> Any:
        return self.load().make_context(*args, **extra)


def add_lazy_command(
    app: typer.Typer, name: str, where: str, summary: str, *, panel: str | None = None
) -> None:
    """Add a command, or a group of commands, to others.

    Args:
        app: the others.
        name: as it is typed.
        where: `module:name` of its function, or of the group's Typer.
        summary: the first paragraph of its own help (a test compares them).
        panel: under which it is listed.
    """

    def load() -> Any:
        module, _, attribute = where.partition(":")
        if module not in sys.modules:  # else whatever is alive would be kept, at each command of one process
            with kept():
                import_module(module)
        return getattr(sys.modules[module], attribute)

    app.command(name, cls=LazyCommand, help=summary, rich_help_panel=panel)(load)
