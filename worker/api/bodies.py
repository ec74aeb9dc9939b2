"""Bodies of requests: JSON objects, read strictly. What is wrong with one never quotes it."""

from __future__ import annotations

import json
import math
from typing import Any, Final, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError

from worker.api.problems import FieldError, Kind, Problem, invalid

M = TypeVar("M", bound=BaseModel)

_JSON: Final = "application/json"


def media_type(request: Request) -> str:
    """Return the media type of a request's body, without parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def parse_object(raw: bytes) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        ValueError: it is none, or holds what no store takes. The text quotes nothing of it.
    """
    try:
        value = json.loads(raw, parse_constant=_no_constant, parse_float=_finite, object_pairs_hook=_unique)
        if b"\\u" in raw:
            json.dumps(value, ensure_ascii=False).encode()
    except _Refused:
        raise
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON (line {error.lineno}, column {error.colno})") from None
    except UnicodeError:
        raise ValueError("not UTF-8 text") from None
    except (ValueError, RecursionError):
        raise ValueError("not JSON that can be read: a number or a nesting beyond all use") from None
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")  # noqa: TRY004  (of the same kind as what is no JSON)
    return value


async def json_object(request: Request) -> dict[str, Any]:
    """Return a request's body as a JSON object.

    Raises:
        Problem: it is none.
    """
    if (kind := media_type(request)) != _JSON and not kind.endswith("+json"):
        raise Problem(
            Kind.UNSUPPORTED_MEDIA_TYPE, f"expected Content-Type: {_JSON}", headers={"Accept": _JSON}
        )
    try:
        return parse_object(await request.body())
    except ValueError as error:
        raise Problem(Kind.MALFORMED, f"the body is {error}") from None


async def optional_object(request: Request) -> dict[str, Any]:
    """Return a request's body as a JSON object, {} where there is no body."""
    return await json_object(request) if await request.body() else {}


def as_model(model: type[M], found: dict[str, Any]) -> M:
    """Read a JSON object as what a route takes.

    Raises:
        Problem: a field is missing, unknown or of the wrong kind.
    """
    try:
        return model.model_validate(found)
    except ValidationError as error:
        raise invalid(*_errors(error)) from None


def _errors(error: ValidationError) -> list[FieldError]:
    return [
        FieldError(".".join(map(str, one["loc"])) or "body", one["msg"].removeprefix("Value error, "))
        for one in error.errors(include_input=False, include_context=False, include_url=False)
    ]


class _Refused(ValueError):
    """JSON that is refused for what it says."""


def _no_constant(_: str) -> Any:
    raise _Refused("not JSON: NaN and Infinity are no numbers")


def _finite(text: str) -> float:
    if not math.isfinite(value := float(text)):
        raise _Refused("not JSON that can be read: a number beyond all use")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _Refused("an object that has a name twice")
    return found
