"""Bytes to a body that can be read, whatever the content type says. Never raises."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qsl

from models.answer import BodyKind

#: Python refuses to read longer numbers; as a number of seconds they mean nothing anyway.
_LONGEST_INT: Final = 300
_CHARSET: Final = re.compile(r"charset=\"?([A-Za-z0-9_.:-]+)", re.IGNORECASE)
#: A complete string member of JSON that can't be read as a whole.
_MEMBER: Final = re.compile(r'"([A-Za-z_]{1,64})"\s*:\s*("(?:[^"\\\x00-\x1f]|\\.)*")')
_FIELD_NAME: Final = re.compile(r"[A-Za-z0-9_.\[\]-]{1,64}=")
_HTML: Final = re.compile(r"\s*<(?!\?xml)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Body:
    """A response body. `fields` where it had any, `text` where it was one text."""

    kind: BodyKind
    fields: Mapping[str, object] = field(default_factory=dict)
    text: str = ""


def read_body(content: bytes, content_type: str) -> Body:
    """Find out what the bytes are: JSON, a form, HTML, or some other text."""
    if not content.strip():
        return Body(BodyKind.NONE)
    text = _text(content, content_type)
    first = text.lstrip()[:1]
    if first and first in '{["':
        return _json_body(text)
    if first == "<":
        return Body(BodyKind.HTML if _HTML.match(text) else BodyKind.TEXT, text=text)
    if _FIELD_NAME.match(text.lstrip()):
        return Body(BodyKind.FORM, _members(parse_qsl(text.strip(), keep_blank_values=True)))
    return Body(BodyKind.UNREADABLE if "\0" in text else BodyKind.TEXT, text=text)


def _text(content: bytes, content_type: str) -> str:
    named = _CHARSET.search(content_type)
    wide = b"\0" in content[:4]  # UTF-16 and UTF-32 begin so, and UTF-8 would take them
    guesses = [json.detect_encoding(content)] if wide else ["utf-8-sig"]
    for encoding in [*guesses, named[1] if named else "utf-8-sig"]:
        try:
            return content.decode(encoding)
        except (LookupError, UnicodeError):
            continue
    return content.decode("latin-1")


def _json_body(text: str) -> Body:
    try:
        document = _DECODER.decode(text.strip())
    except (ValueError, RecursionError):
        return Body(BodyKind.UNREADABLE, _salvaged(text), text)
    if isinstance(document, list):  # Salesforce wraps errors in a list
        document = next((item for item in document if isinstance(item, dict)), {})
    if isinstance(document, dict):
        return Body(BodyKind.JSON, document)
    return Body(BodyKind.JSON, text=document if isinstance(document, str) else "")


def _salvaged(text: str) -> dict[str, object]:
    """Take the complete string members of JSON that was cut or is broken elsewhere: a token may be among them."""
    found: dict[str, object] = {}
    for name, quoted in _MEMBER.findall(text):
        try:
            found.setdefault(name, json.loads(quoted))
        except ValueError:
            continue
    return found


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build an object. Of a key that stands twice the last one counts that is not empty (RFC 8259 leaves it open)."""
    members = dict(pairs)
    if len(members) < len(pairs):
        members.update({key: value for key, value in pairs if value not in (None, "")})
    return members


def _whole_number(digits: str) -> int | float:
    return int(digits) if len(digits) <= _LONGEST_INT else float("inf")


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_members, parse_int=_whole_number, strict=False)
