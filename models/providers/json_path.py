"""Dotted paths into a decoded body: `data.token.access_token`, `errors.0.errorType`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

_INDEX: Final = re.compile(r"[0-9]{1,6}")


def lookup_path(body: object, path: str) -> object:
    """Return the value at `path`, None where there is none. A key that itself has dots is found as well."""
    if isinstance(body, dict):  # what JSON decodes to; asking for a Mapping costs ten times as much
        if path in body:
            return body[path]
        if "." not in path:
            return None
    elif isinstance(body, Mapping) and path in body:
        return body[path]
    found = body
    for step in path.split("."):
        if isinstance(found, dict | Mapping):
            found = found.get(step)
        elif isinstance(found, list) and _INDEX.fullmatch(step) and int(step) < len(found):
            found = found[int(step)]
        else:
            return None
    return found
