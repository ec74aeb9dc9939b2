"""The return value of a callback as JSON, field by field: a value that JSON can't hold loses no other field.

Another field may hold the only copy of a rotated refresh token.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from decimal import Decimal
from numbers import Real
from typing import Any, Final

#: The only name in the object that replaces a value that can't be written; its value is that value's type.
LEFT_OUT: Final = "refreshd.left_out"
#: What an output may hold (docs/callbacks.md).
OUTPUT_NAMES: Final = ("access_token", "token_type", "expires_in", "refresh_token", "scope", "errorResponse")


def as_it_is(value: object) -> object:
    """Return the object itself."""
    return value


def as_json(value: object, plain: Callable[[object], object] = as_it_is) -> Any:
    """Return a callback's return value as JSON. In a mapping, a value that can't be written is replaced by its type.

    Of an object of another kind, attributes with the names of an output count, else the JSON of a response (`json()`).

    Args:
        value: the return value.
        plain: returns an object of the caller's own types as a mapping, everything else unchanged.

    Raises:
        TypeError, ValueError, RecursionError: the value is neither a mapping nor JSON.
    """

    def known(item: object) -> object:
        return _of_another_type(plain(item))

    value = _held(_fields(plain(value)))
    if isinstance(value, Mapping):
        return {_name(name): _written(item, known) for name, item in value.items()}
    written = json.loads(json.dumps(value, default=known))
    if isinstance(written, dict):
        raise TypeError(f"a {type(value).__name__} can't be written as JSON")
    return written


def _written(item: object, known: Callable[[object], object]) -> Any:
    try:
        return json.loads(json.dumps(item, default=known))
    except Exception:  # noqa: BLE001  (objects of the callback: an error in one must not lose the others)
        return _left_out(item)


def _of_another_type(item: object) -> object:
    """Return an equivalent text, number, object or list; the name of the type if there is none."""
    item = _fields(item)
    if isinstance(item, Mapping):
        return dict(item)
    if isinstance(item, Real | Decimal):
        return float(item)
    if isinstance(item, set | frozenset):
        return sorted(item, key=str)
    if isinstance(item, bytes | bytearray):
        return item.decode()
    reveal = getattr(item, "get_secret_value", None)  # pydantic's SecretStr
    return reveal() if callable(reveal) else _left_out(item)


def _fields(item: object) -> object:
    """Return a dataclass as its fields."""
    if not is_dataclass(item) or isinstance(item, type):
        return item
    return {field.name: getattr(item, field.name) for field in fields(item)}


def _held(value: object) -> object:
    """Return what an object of another kind holds of an output: in its attributes, or as the JSON of a response."""
    if isinstance(value, Mapping | str | bytes | int | float | type(None)):
        return value
    held = {name: found for name in OUTPUT_NAMES if (found := getattr(value, name, None)) is not None}
    if held:
        return held
    of_response = getattr(value, "json", None)
    return of_response() if callable(of_response) else value


def _left_out(item: object) -> dict[str, str]:
    return {LEFT_OUT: type(item).__name__}


def _name(name: object) -> str:
    return name if isinstance(name, str) else f"<{type(name).__name__}>"
