"""Commands that are imported when they are used: their dependencies take longer to import than most take to run."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib import import_module
from inspect import cleandoc
from typing import Any, Final

import typer
from typer.core import TyperCommand
from typer.main import get_command, get_group

from worker.broker.gc_freeze import kept
from worker.cli.commands import Command

#: Commands that are processes of their own.
_PROCESSES: Final = "worker.cli.run."
#: redis-py's metrics, and the classes that Rich would print in a way of their own.
_UNUSED: Final = ("opentelemetry", "attr")


class LazyCommand(TyperCommand):
    """Stands for a command until it is used: its name, and its summary for the page of its group."""

    def load(self) -> Any:
        """Import the command, or the group of commands."""
        found: Any = self.callback() if self.callback is not None else None
        if isinstance(found, typer.Typer):
            group = get_group(found)
            group.name, group.help = self.name, self.help
            for command in group.commands.values():
                if not isinstance(command, LazyCommand):
                    command.help = _paragraphs(command.help or "")
                    flags_without_type(command)
            return flags_without_type(group)
        alone = typer.Typer(add_completion=False)
        details = f"\n\n{_paragraphs(found.__doc__)}" if found.__doc__ else ""
        alone.command(self.name, help=f"{self.help}{details}")(found)
        return flags_without_type(get_command(alone))

    def make_context(self, *args: Any, **extra: Any) -> Any:
        return self.load().make_context(*args, **extra)


def _paragraphs(text: str) -> str:
    """Return a docstring whose lines are the terminal's to break."""
    return "\n\n".join(" ".join(one.split()) for one in cleandoc(text).split("\n\n"))


def flags_without_type(command: Any) -> Any:
    """Have `--help` show no `<bool>` beside options that take no value."""
    get_params = command.get_params

    def get(ctx: Any) -> Any:
        params = get_params(ctx)
        for one in params:
            if getattr(one, "is_flag", False):
                one.metavar = ""
        return params

    command.get_params = get
    return command


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
            with kept(), _alone(module):
                import_module(module)
        return getattr(sys.modules[module], attribute)

    return load


@contextmanager
def _alone(module: str) -> Iterator[None]:
    """Keep packages from what they import where it is installed, and what no command has a use for.

    It costs more than the packages themselves: httpx' own command line has it load a highlighter. `refreshd up` and its like are as any other process: they write traces,
    and start processes that have their environment.
    """
    if module.startswith(_PROCESSES):
        yield
        return
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "1")  # else it reads about every installed distribution
    sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]  # None: an import of it fails
    absent = [name for name in _UNUSED if name not in sys.modules]
    sys.modules.update(dict.fromkeys(absent))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in absent:
            del sys.modules[name]
