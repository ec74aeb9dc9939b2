"""Reads compose.yaml as `docker compose` does: merge keys, then variables, then what the shell passes through.

The rules are those of the Compose Specification, chapters "Interpolation" and "environment".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml

ROOT: Final = Path(__file__).parents[2]
FILE: Final = ROOT / "compose.yaml"

_VARIABLE: Final = re.compile(r"\$(?:(?P<escaped>\$)|\{(?P<name>\w+)(?::(?P<kind>[-?])(?P<rest>[^}]*))?\})")


class VariableMissing(Exception):
    """A variable that compose.yaml requires is not set."""


def raw() -> dict[str, Any]:
    """Return the file with merge keys resolved and variables as they stand."""
    content: dict[str, Any] = yaml.load(FILE.read_text(), yaml.CSafeLoader)
    return content


def services(variables: Mapping[str, str]) -> dict[str, Any]:
    """Return the services as they would run with these variables.

    Raises:
        VariableMissing: a required one is not among them.
    """
    found: dict[str, Any] = _interpolated(raw()["services"], variables)
    for service in found.values():
        environment = service.get("environment", {})
        service["environment"] = {
            name: variables[name] if value is None else str(value)
            for name, value in environment.items()
            if value is not None or name in variables
        }
    return found


def _interpolated(node: Any, variables: Mapping[str, str]) -> Any:
    if isinstance(node, dict):
        return {key: _interpolated(value, variables) for key, value in node.items()}
    if isinstance(node, list):
        return [_interpolated(value, variables) for value in node]
    if isinstance(node, str):
        return _VARIABLE.sub(lambda match: _value(match, variables), node)
    return node


def _value(match: re.Match[str], variables: Mapping[str, str]) -> str:
    if match["escaped"]:
        return "$"
    value = variables.get(match["name"], "")
    if value or match["kind"] is None:
        return value
    if match["kind"] == "?":
        raise VariableMissing(f"{match['name']}: {match['rest']}")
    return match["rest"] or ""
