"""Accounts from YAML: a list of mappings, or one under `accounts:`, read event by event, a row at a time.

Plain scalars mean what JSON's would: 0123 stays text, `yes` too, and a date is not turned into one. Anchors,
aliases and merge keys work. A tag that says more than text, list or mapping is an error, so a file creates no objects.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import BinaryIO, Final

import yaml

from worker.accounts.formats.row import Raw, UnreadableFile, finite

#: More values than any account has: an alias of aliases of aliases must not fill the memory.
_VALUES_MAX: Final = 10_000
_DEPTH_MAX: Final = 30
#: A deeper file is not read to its end: libyaml's time grows with the square of the depth.
_DEPTH_END: Final = 100

_JSON_SCALAR: Final = re.compile(r"-?(?:0|[1-9]\d{0,30})(?:\.\d{1,30})?(?:[eE][+-]?\d{1,3})?")
_NULLS: Final = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLS: Final = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
#: Accepted tags: none, or the one that the value has anyway.
_TAGS: Final = frozenset({None, "!", *(f"tag:yaml.org,2002:{kind}" for kind in ("str", "seq", "map"))})
_MERGE: Final = "<<"
_LIST_KEY: Final = "accounts"


def yaml_rows(stream: BinaryIO, name: str, start: int) -> Iterator[Raw]:
    """Read the rows. The whole file is parsed once first, so that no row is returned of a file that can't be read.

    Raises:
        UnreadableFile: not valid YAML, or neither a list nor a mapping with `accounts`.
    """
    for _ in _rows(stream, name):
        pass
    stream.seek(start)
    return _rows(stream, name)


def _rows(stream: BinaryIO, name: str) -> Iterator[Raw]:
    loader = yaml.CSafeLoader(stream)
    events = _Events(loader)
    try:
        if _to_the_list(events, name):
            while not isinstance(events.peek(), yaml.SequenceEndEvent):
                yield _row(events)
        for event in iter(events.next, None):
            if isinstance(event, yaml.DocumentStartEvent):
                raise UnreadableFile(f"{name}: holds several documents (`---`); expected one")
    except yaml.YAMLError as error:
        raise UnreadableFile(f"{name}: {_in_words(error)}") from None
    except UnicodeDecodeError:
        raise UnreadableFile(f"{name}: is not UTF-8 text") from None
    finally:
        loader.dispose()


def _to_the_list(events: _Events, name: str) -> bool:
    """Advance to the start of the list of accounts; False where the file is empty."""
    while isinstance(events.peek(), yaml.StreamStartEvent | yaml.DocumentStartEvent):
        events.next()
    first = events.next()
    if first is None or isinstance(first, yaml.StreamEndEvent):
        return False
    if isinstance(first, yaml.SequenceStartEvent):
        return True
    if isinstance(first, yaml.ScalarEvent) and first.value in _NULLS:
        return False
    if isinstance(first, yaml.MappingStartEvent):
        while not isinstance(events.peek(), yaml.MappingEndEvent):
            key = _Value(events).build()
            if key == _LIST_KEY and isinstance(events.peek(), yaml.SequenceStartEvent):
                events.next()
                return True
            _Value(events).build()
    raise UnreadableFile(f"{name}: expected a list of accounts, by itself or under `{_LIST_KEY}:`")


def _row(events: _Events) -> Raw:
    line = events.line()
    value = _Value(events)
    row = value.build()
    if value.problem:
        return Raw(line, None, value.problem)
    if not isinstance(row, dict):
        return Raw(line, None, "expected a mapping, `column: value`")
    return Raw(line, row)


class _TooDeepError(yaml.YAMLError):
    """The file is nested so deeply that parsing it would take minutes."""


class _Events:
    """The parser's events, and the values of anchors seen so far."""

    def __init__(self, loader: yaml.CSafeLoader) -> None:
        self._loader = loader
        self._depth = 0
        self.anchored: dict[str, tuple[object, int]] = {}

    def peek(self) -> yaml.Event | None:
        event: yaml.Event | None = self._loader.peek_event()
        return event

    def next(self) -> yaml.Event | None:
        event: yaml.Event | None = self._loader.get_event()
        if isinstance(event, yaml.CollectionStartEvent):
            self._depth += 1
            if self._depth > _DEPTH_END:
                line = event.start_mark.line + 1 if event.start_mark is not None else 0
                raise _TooDeepError(f"is nested more than {_DEPTH_END} deep (line {line})")
        elif isinstance(event, yaml.CollectionEndEvent):
            self._depth -= 1
        return event

    def line(self) -> int:
        event = self.peek()
        return event.start_mark.line + 1 if event is not None and event.start_mark is not None else 0


class _Value:
    """Builds one value. An invalid value sets `problem`; its events are consumed to the end all the same."""

    def __init__(self, events: _Events) -> None:
        self._events = events
        self._count = 0
        self.problem = ""

    def build(self, depth: int = 0) -> object:
        event = self._events.next()
        self._count += 1
        if depth > _DEPTH_MAX and isinstance(event, yaml.CollectionStartEvent):
            self._skip()
            return None
        tag: str | None = getattr(event, "tag", None)
        if tag not in _TAGS:
            # Not shown: it may be an unquoted secret that begins with !.
            self._note("unsupported tag (!); put a value that begins with ! into quotes")
        match event:
            case yaml.AliasEvent():
                return self._aliased(event.anchor or "")
            case yaml.ScalarEvent():
                value = self._scalar(event)
            case yaml.SequenceStartEvent():
                value = self._list(depth)
            case _:
                value = self._mapping(depth)
        anchor = getattr(event, "anchor", None)
        if anchor:
            self._events.anchored[anchor] = (value, self._count)
        return value

    def _skip(self) -> None:
        """Skip to the end of a collection that has just begun."""
        self._note("is nested too deeply")
        open_collections = 1
        while open_collections:
            event = self._events.next()
            open_collections += isinstance(event, yaml.CollectionStartEvent)
            open_collections -= isinstance(event, yaml.CollectionEndEvent)

    def _list(self, depth: int) -> list[object]:
        found: list[object] = []
        while not isinstance(self._events.peek(), yaml.SequenceEndEvent):
            found.append(self.build(depth + 1))
        self._events.next()
        return found

    def _mapping(self, depth: int) -> dict[str, object]:
        found: dict[str, object] = {}
        merged: dict[str, object] = {}
        while not isinstance(self._events.peek(), yaml.MappingEndEvent):
            key, value = self.build(depth + 1), self.build(depth + 1)
            if key == _MERGE:
                for mapping in value if isinstance(value, list) else [value]:
                    merged = {**(mapping if isinstance(mapping, dict) else {}), **merged}
                continue
            name = key if isinstance(key, str) else json.dumps(key)
            if name in found:
                self._note(f"{name[:60]!r} is given twice")
            found[name] = value
        self._events.next()
        return {**merged, **found}

    def _scalar(self, event: yaml.ScalarEvent) -> object:
        text: str = event.value
        if event.tag or event.style:
            return text
        if text in _NULLS:
            return None
        if text in _BOOLS:
            return _BOOLS[text]
        return json.loads(text, parse_float=finite) if _JSON_SCALAR.fullmatch(text) else text

    def _aliased(self, anchor: str) -> object:
        value, count = self._events.anchored.get(anchor, (None, 0))
        if not count:
            self._note(
                "an alias (*) without an anchor before it, or of itself; put a value that begins with * into quotes"
            )
        self._count += count
        if self._count > _VALUES_MAX:
            self._note(f"holds more than {_VALUES_MAX:,} values")
        return value

    def _note(self, problem: str) -> None:
        self.problem = self.problem or problem


def _in_words(error: yaml.YAMLError) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f"not valid YAML: {error.problem} (line {error.problem_mark.line + 1})"
    if isinstance(error, _TooDeepError):
        return str(error)
    return f"not valid YAML: {' '.join(str(error).split())[:200]}"
