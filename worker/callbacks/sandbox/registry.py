"""Which callbacks there are: registered by the decorator, in modules that the operator named.

Nothing else is ever imported. A name in an account's row is looked up here and nowhere else.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, TypeVar

from models.callback import CALLBACK_NAME

#: A callback: plain, or `async def`. It is given a `CallbackInput`, and gives a `CallbackOutput` or a dict.
Function = Callable[..., object]
F = TypeVar("F", bound=Function)

#: The error of a module that holds no callback; its file shows where another module of that name was found.
NOTHING_REGISTERED: Final = (
    "it was imported ({}) and registers no callback: is it the right file, and has its function "
    '@refresh_callback("NAME") above it?'
)
_INSTALLED: Final = tuple(f"{root}/" for root in {sys.prefix, sys.base_prefix})
#: Entry points of this group are imported: `acme = "acme_refresh"`, or `acme = "acme_refresh:refresh"`.
ENTRY_POINTS: Final = "refreshd.callbacks"


@dataclass(frozen=True, slots=True)
class Registered:
    """One callback. Amounts are None where it takes the default."""

    name: str
    function: Function
    module: str
    where: str
    timeout_s: float | None = None
    memory_mb: int | None = None


@dataclass(slots=True)
class Registry:
    """The callbacks of one process, and what kept others out."""

    callbacks: dict[str, Registered] = field(default_factory=dict)
    #: Module or entry point -> why it is not used.
    problems: dict[str, str] = field(default_factory=dict)

    def add(
        self, name: str, function: Function, *, timeout_s: float | None = None, memory_mb: int | None = None
    ) -> None:
        """Register a callback.

        Raises:
            ValueError: the name or an amount is unfit, or the name is taken by another function.
        """
        if not CALLBACK_NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no name for a callback: 1 to 64 letters, digits, . _ -")
        if timeout_s is not None and not timeout_s > 0:
            raise ValueError(f"{name}: timeout_s is seconds, more than 0")
        if memory_mb is not None and memory_mb < 1:
            raise ValueError(f"{name}: memory_mb is mebibytes, 1 or more")
        where, taken = _where(function), self.callbacks.get(name)
        if taken is not None and taken.where != where:
            raise ValueError(f"{name!r} is registered already, at {taken.where}; {where} needs another name")
        self.callbacks[name] = Registered(name, function, function.__module__, where, timeout_s, memory_mb)

    def load(self, modules: Sequence[str], *, skipped: dict[str, str]) -> Iterator[str]:
        """Import modules, then entry points; returns the name of each before it is imported.

        Whatever an import raises keeps out that module alone.
        """
        self.problems.update(skipped)
        for module in modules:
            if module not in skipped:
                yield module
                before = len(self.callbacks)
                self._import(module, partial(import_module, module))
                if module not in self.problems and len(self.callbacks) == before and not self._has_of(module):
                    self.problems[module] = NOTHING_REGISTERED.format(_file_of(module))
        for point in entry_points(group=ENTRY_POINTS):
            if point.value not in skipped:
                yield point.value
                self._import(point.value, partial(self._take, point))

    def _import(self, name: str, load: Callable[[], object]) -> None:
        try:
            load()
        except ModuleNotFoundError as error:
            if error.name is not None and f"{name}.".startswith(f"{error.name}."):
                self.problems[name] = _not_found(name)
            else:
                self.problems[name] = f"ModuleNotFoundError: {error}{_at(error)}"
        except BaseException as error:  # noqa: BLE001  (a module may raise anything, SystemExit too)
            self.problems[name] = f"{type(error).__name__}: {error}{_at(error)}"

    def _has_of(self, module: str) -> bool:
        """Return whether a callback is of this module, or of one inside it: another import may have brought it."""
        return any(f"{one.module}.".startswith(f"{module}.") for one in self.callbacks.values())

    def _take(self, point: EntryPoint) -> None:
        """Register what an entry point names, unless its decorator did; a module only needs to be imported."""
        loaded: Any = point.load()
        if inspect.isroutine(loaded) and all(one.function is not loaded for one in self.callbacks.values()):
            self.add(point.name, loaded)


_registry: Final = Registry()


def registry() -> Registry:
    """Return this process' registry."""
    return _registry


def refresh_callback(
    name: str, *, timeout_s: float | None = None, memory_mb: int | None = None
) -> Callable[[F], F]:
    """Register a function as the callback of that name; the function itself stays as it is.

    Args:
        name: what accounts say as `callback: NAME`. 1 to 64 letters, digits, `.`, `_`, `-`.
        timeout_s: seconds after which `CallbackTimeout` is raised in it; 5 seconds later it is killed. None, and
            at most: 5 seconds less than REFRESHD_CALL_TIMEOUT_S.
        memory_mb: mebibytes of address space that it may take. None: REFRESHD_CALLBACK_MEMORY_MB.

    Raises:
        ValueError: the name or an amount is unfit, or the name is taken.
        TypeError: it stands above a function without a name.
    """
    if not isinstance(name, str):
        raise TypeError('the decorator takes the name that accounts say: @refresh_callback("NAME")')

    def register(function: F) -> F:
        _registry.add(name, function, timeout_s=timeout_s, memory_mb=memory_mb)
        return function

    return register


def source_files(modules: Sequence[str]) -> list[str]:
    """Return the files that these modules came from, with what they imported beside themselves.

    What is installed with Python is left out: a package is updated as a whole, and then workers are restarted.
    """
    tops = {module.partition(".")[0] for module in modules}
    files = {
        getattr(module, "__file__", None)
        for name, module in list(sys.modules.items())
        if name.partition(".")[0] in tops
    }
    for top in tops - sys.modules.keys():  # it could not be imported: once it is mended, no restart is needed
        with suppress(ImportError, ValueError):
            spec = find_spec(top)
            files.add(spec.origin if spec is not None else None)
    return sorted(file for file in files if file is not None and not file.startswith(_INSTALLED))


def _where(function: Function) -> str:
    code = getattr(inspect.unwrap(function), "__code__", None)
    if code is None:
        return function.__module__
    return f"{code.co_filename}:{code.co_firstlineno}"


def _at(error: BaseException) -> str:
    """Return where an import failed: the last line of the traceback that is neither ours nor the import system's."""
    if isinstance(error, SyntaxError):
        return ""  # its words have the line, and no line of the file was run
    at, trace = "", error.__traceback__
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if file != __file__ and not file.startswith("<"):
            at = f" ({Path(file).name}:{trace.tb_lineno})"
        trace = trace.tb_next
    return at


def _not_found(module: str) -> str:
    """Return where a module was looked for; the folders of Python's own packages go without saying."""
    folders = [folder for folder in dict.fromkeys(sys.path) if not f"{folder}/".startswith(_INSTALLED)]
    return (
        f"there is no module {module!r} in {', '.join(folders) or 'any folder'} or among the installed packages: give "
        "its folder to the callback worker as PYTHONPATH"
    )


def _file_of(module: str) -> str:
    return getattr(sys.modules[module], "__file__", None) or "a folder without code"
