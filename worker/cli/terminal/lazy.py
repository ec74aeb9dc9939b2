"""Commands that are imported when they are used: their dependencies take longer to import than most take to run."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand
from typer.main import get_command, get_group

from worker.broker.gc_freeze import kept
from worker.cli.commands import Command


class LazyCommand(TyperCommand):
    """Stands for a command until it is used: its name, and its summary for the page of its group."""

    def load(self) -> Any:
        """Import the command, or the group of commands."""
        found: Any = self.callback() if self.callback is not None else None
        if isinstance(found, typer.Typer):
            group = get_group(found)
            group.name, group.help = self.name, self.help
            return group
        alone = typer.Typer(add_completion=False)
        details = f"\n\n{found.__doc__}" if found.__doc__ else ""
        alone.command(self.name, help=f"{self.help}{details}")(found)
        return get_command(alone)

    def make_context(self, *args: Any, **extra: Any) -> Any:
        return self.load().make_context(*args, **extra)


def add_commands(app: typer.Typer, commands: Iterable[Command]) -> None:
    """Add commands to a group; none of their modules is imported."""
    for command in commands:
        app.command(command.name, cls=LazyCommand, help=command.summary, rich_help_panel=command.panel)(
            _loader(command.target)
        )


def _loader(target: str) -> Any:
    module, _, attribute = target.partition(":")

    def load() -> Any:
        if (
            module not in sys.modules
        ):  # else every living object would be kept, at each command of one process
            with kept():
                import_module(module)
        return getattr(sys.modules[module], attribute)

    return load
