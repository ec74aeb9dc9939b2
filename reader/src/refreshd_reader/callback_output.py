"""What a callback returned, as JSON: field by field, so that a value that JSON can't hold costs nothing but itself.

Beside it may stand the only copy of a rotated refresh token.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from decimal import Decimal
from numbers import Real
from typing import Any, Final

#: The one name of an object that stands where a value can't be written; it says what kind of value that was.
LEFT_OUT: Final = "refreshd.left_out"


def as_it_is(value: object) -> object:
    """Know no types but Python's own."""
    return value


def as_json(value: object, plain: Callable[[object], object] = as_it_is) -> Any:
    """Return what a callback returned as JSON has it. Of a mapping, what can't be written is replaced by its kind.

    Args:
        value: what it returned.
        plain: gives an object of the caller's own types as a mapping, everything else as it is.

    Raises:
        TypeError, ValueError, RecursionError: it is no mapping, and no JSON.
    """

    def known(item: object) -> object:
        return _of_another_type(plain(item))

    value = _fields(plain(value))
    if isinstance(value, Mapping):
        return {_name(name): _written(item, known) for name, item in value.items()}
    written = json.loads(json.dumps(value, default=known))
    if isinstance(written, dict):
        raise TypeError(f"a {type(value).__name__} can't be written as JSON")
    return written


def _written(item: object, known: Callable[[object], object]) -> Any:
    try:
        return json.loads(json.dumps(item, default=known))
    except Exception:  # noqa: BLE001  (other people's objects; what is wrong with one is no reason to lose the rest)
        return _left_out(item)


def _of_another_type(item: object) -> object:
    """Return what is a text, a number, an object or a list all the same; name the kind of everything else."""
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


def _left_out(item: object) -> dict[str, str]:
    return {LEFT_OUT: type(item).__name__}


def _name(name: object) -> str:
    return name if isinstance(name, str) else f"<{type(name).__name__}>"
