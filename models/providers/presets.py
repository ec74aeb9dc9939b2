"""Providers from YAML: the built-in presets, and a user's own file over them.

A file maps names to knobs (`models/providers/__init__.py`). `extends: NAME` starts from another entry; an entry of a
user's file that has a built-in's name starts from that one. A top-level key that begins with a dot is no provider: what
several entries share stands there once, and they take it over with `<<: *ANCHOR`.
"""

from __future__ import annotations

import re
from collections import ChainMap
from collections.abc import Hashable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, Final

import yaml
from pydantic import ValidationError

from models.providers import Provider

BUILT_IN: Final = Path(__file__).with_name("presets.yaml")

#: The page with all options.
_EXTENDS: Final = "extends"
#: A top-level key that begins so is no provider: it holds what several take over with `<<: *ANCHOR`.
_SHARED: Final = "."
_MERGE: Final = "tag:yaml.org,2002:merge"
#: Where an entry of the built-in file begins.
_ENTRY: Final = re.compile(r"^(?=[^\s#])", re.MULTILINE)
#: What one of its entries extends.
_STARTS_FROM: Final = re.compile(rf"^  {_EXTENDS}: (\S+)$", re.MULTILINE)
#: More entries than these are wanted by one who goes through all, which are faster read together.
_ALONE_MAX: Final = 16
#: Deepest nesting that is read; no option is nested deeper than a few levels.
_DEPTH_MAX: Final = 100


class PresetError(ValueError):
    """A file of providers that can't be used. `problems` names each file, entry, field and reason."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def load_presets(path: Path = BUILT_IN) -> Mapping[str, Provider]:
    """Read a file that stands alone, such as the built-in one.

    Raises:
        PresetError: the file, or entries of it, can't be used.
    """
    return _BUILT_IN if path == BUILT_IN else _resolved(path, _read(path), {})


class _BuiltIn(Mapping[str, Provider]):
    """The built-in presets. One that is looked up is read by itself, names alone are read by no parser.

    All of them take a tenth of a second.
    """

    def __init__(self) -> None:
        self._alone: dict[str, Provider] = {}

    @cached_property
    def _all(self) -> Mapping[str, Provider]:
        return _resolved(BUILT_IN, _read(BUILT_IN), {})

    @cached_property
    def _entries(self) -> dict[str, str]:
        """Each entry's text by its name: the file is ours, and an entry begins where a line is not indented."""
        texts = _ENTRY.split(BUILT_IN.read_text(encoding="utf-8"))[1:]
        return {text.partition(":")[0]: text for text in texts}

    @cached_property
    def _names(self) -> dict[str, None]:
        """The names of all, those that others start from before them, as where all are read."""
        starts = {
            name: found[1] if (found := _STARTS_FROM.search(text)) else None
            for name, text in self._entries.items()
            if not name.startswith(_SHARED)
        }
        return dict.fromkeys(name for ready in _rounds(starts) for name in ready)

    @cached_property
    def _shared(self) -> str:
        return "".join(text for name, text in self._entries.items() if name.startswith(_SHARED))

    def __getitem__(self, name: str) -> Provider:
        if "_all" in vars(self) or len(self._alone) >= _ALONE_MAX:
            return self._all[name]
        if name not in self._alone:
            self._alone[name] = self._read_alone(name)
        return self._alone[name]

    def _read_alone(self, name: str) -> Provider:
        if name not in self:
            raise KeyError(name)
        knobs = yaml.load(self._shared + self._entries[name], _Loader)[name]  # noqa: S506 -- a SafeLoader
        start = _start(name, knobs)
        return _provider(name, knobs, None if start is None else self[start])

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def load_providers(own: Path | None) -> Mapping[str, Provider]:
    """Read the built-in presets, and a user's own file (REFRESHD_PROVIDERS_FILE) over them.

    Raises:
        PresetError: a file, or entries of it, can't be used.
    """
    built_in = load_presets()
    if own is None:
        return built_in
    return ChainMap(_resolved(own, _read(own), built_in), built_in)  # type: ignore[arg-type]  # it is not written to


def _read(path: Path) -> dict[str, dict[str, object]]:
    try:
        with path.open("rb") as stream:
            if path != BUILT_IN:
                _check_depth(stream)
            document = yaml.load(stream, _Loader)  # noqa: S506 -- _Loader is a SafeLoader
    except OSError as error:
        raise PresetError([f"{path}: {error.strerror}"]) from None
    except (
        yaml.YAMLError,
        ValueError,
        TypeError,
        RecursionError,
    ) as error:  # a date may be none, a key no word
        raise PresetError([f"{path}: {' '.join(str(error).split())}"]) from None
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise PresetError([f"{path}: not a mapping; expected provider names with their options"])
    problems = [
        f"{path}: {name}: not a mapping; expected options"
        for name, knobs in document.items()
        if not isinstance(knobs, dict)
    ]
    if problems:
        raise PresetError(problems)
    return {str(name): knobs for name, knobs in document.items() if not str(name).startswith(_SHARED)}


def _check_depth(stream: BinaryIO) -> None:
    """Raise for a document that is nested too deep: libyaml composes by recursion in C, and ends the process.

    Raises:
        yaml.YAMLError: it is, or can't be read.
    """
    depth = 0
    for event in yaml.parse(stream, Loader=yaml.CSafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEPTH_MAX:
            raise yaml.YAMLError(f"it is nested more than {_DEPTH_MAX} deep")
    stream.seek(0)


def _resolved(
    path: Path, entries: Mapping[str, dict[str, object]], known: Mapping[str, Provider]
) -> dict[str, Provider]:
    found: dict[str, Provider] = {}
    problems: list[str] = []
    waiting = dict(entries)
    for ready in _rounds({name: _start(name, knobs) for name, knobs in entries.items()}):
        for name in ready:
            knobs = waiting.pop(name)
            start = _start(name, knobs)
            if start is not None and start not in found and start not in known:
                problems.append(f"{path}: {name}.{_EXTENDS}: there is no provider {start!r}")
                continue
            base = known.get(name) if start is None else found.get(start) or known.get(start)
            try:
                found[name] = _provider(name, knobs, base)
            except ValidationError as error:
                problems += [f"{path}: {name}{_field(item['loc'])}: {item['msg']}" for item in error.errors()]
    problems += [f"{path}: {name}.{_EXTENDS}: it leads back to itself" for name in waiting]
    if problems:
        raise PresetError(problems)
    return found


def _rounds(starts: Mapping[str, str | None]) -> Iterator[list[str]]:
    """Yield the names of entries, each after the one that it starts from; without those that lead back to themselves."""
    waiting = dict(starts)
    while ready := [name for name, start in waiting.items() if start not in waiting]:
        yield ready
        for name in ready:
            del waiting[name]


def _start(name: str, knobs: Mapping[str, object]) -> str | None:
    """Return the name of the entry that this one extends; None for none (or for the built-in of its own name)."""
    start = knobs.get(_EXTENDS)
    return None if start is None or start == name else str(start)


def _provider(name: str, knobs: Mapping[str, object], base: Provider | None) -> Provider:
    mine = {knob: value for knob, value in knobs.items() if knob != _EXTENDS}
    if base is None:
        return Provider.model_validate({**mine, "name": name})
    return base.overridden({**mine, "name": name})


def _field(location: tuple[int | str, ...]) -> str:
    return "".join(f".{step}" for step in location)


class _Loader(yaml.CSafeLoader):
    """Refuses a key that stands twice in one mapping, where YAML would silently take the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[object] = set()
        for key_node, _ in node.value:
            if key_node.tag == _MERGE:
                continue
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"{key!r} stands twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


_BUILT_IN: Final = _BuiltIn()
