"""Bytes to a body that can be read, whatever the content type says. Never raises."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from operator import itemgetter
from typing import Any, Final
from urllib.parse import parse_qsl

from msgspec import Struct, field

from models.answer import BodyKind

#: Python refuses to read longer numbers; as a number of seconds they mean nothing anyway.
_LONGEST_INT: Final = 300
#: JSON in a string of JSON in a string: it was never seen packed more often.
_PACKED_MAX: Final = 3
#: How deep in an object another one is looked for that holds the tokens.
_DEEPEST: Final = 5
_CHARSET: Final = re.compile(r"charset=\"?([A-Za-z0-9_.:-]+)", re.IGNORECASE)
#: What JSON that can't be read as a whole is made of: a complete member (a text, or a number behind which something
#: follows), another text, a bracket.
_PIECE: Final = re.compile(
    r'"([A-Za-z_]{1,64})"\s*+:\s*+("(?:[^"\\\x00-\x1f]|\\.)*+"|-?\d{1,20}(?:\.\d{1,20})?(?=\s*+[,}\]]))'
    r'|"(?:[^"\\]|\\.)*+(?:"|\\?\Z)|([{\[])|([}\]])',
    re.DOTALL,
)
#: What is no JSON, and is written all the same: comments, and a comma before a closing bracket. Strings are kept. A
#: repeat never gives back what it took (`*+`), so that no text makes them slow.
_COMMENT: Final = re.compile(
    r'"(?:[^"\\]|\\.|\\\Z)*+(?:"|\Z)|/\*(?:[^*]|\*(?!/))*+(?:\*/|\Z)|//[^\n]*+', re.DOTALL
)
_LAST_COMMA: Final = re.compile(r'"(?:[^"\\]|\\.|\\\Z)*+(?:"|\Z)|,(?=\s*+[}\]])', re.DOTALL)
#: How an object begins; a brace before anything else is a program's or a style sheet's.
_OBJECT: Final = re.compile(r'\{\s*+(?:["}]|/[*/])')
_FIELD_NAME: Final = re.compile(r"[A-Za-z0-9_.\[\]-]{1,64}=")
_HTML: Final = re.compile(r"\s*<(?!\?xml)", re.IGNORECASE)
#: What may stand behind an error that does not begin its body: the end of JSONP, of `<pre>`, of a comment.
_TAIL: Final = re.compile(r"(?:\s|[;)]|<[^<>]*>)*")
#: Around a body: white space, NULs, byte order marks (some servers write two).
_AROUND: Final = " \t\r\n\0\ufeff"
#: The same as Latin-1 reads it: a mark in front of a text in another encoding.
_MARK: Final = b"\xef\xbb\xbf"

#: Returns the access token that an object holds, if it holds one.
Finder = Callable[[Mapping[str, object]], str | None]


class Body(Struct, frozen=True):
    """A response body. `fields` where it had any, `text` where it was one text."""

    kind: BodyKind
    fields: Mapping[str, object] = field(default_factory=dict)
    text: str = ""
    #: Objects that hold different access tokens, one for each: none can be chosen. Empty otherwise.
    rivals: tuple[Mapping[str, object], ...] = ()
    #: Nothing of the object that was read is missing.
    is_whole: bool = False


def access_token(fields: Mapping[str, object]) -> str | None:
    """Return the access token that stands where RFC 6749 section 5.1 puts it."""
    value = fields.get("access_token")
    return value.strip() or None if isinstance(value, str) else None


def read_body(content: bytes, content_type: str, finder: Finder = access_token) -> Body:
    """Return what the bytes are: JSON, a form, HTML, or some other text.

    JSON is looked for wherever it stands: behind a warning or a guard, in a string, in another object. Where two objects
    hold different access tokens, none is chosen.
    """
    text = _text(content, content_type).strip(_AROUND)
    if not text:
        return Body(BodyKind.NONE)
    first = text[0]
    if first in '{["':
        return _json_body(text, finder)
    if first != "<" and _FIELD_NAME.match(text):
        return Body(BodyKind.FORM, _members(parse_qsl(text, keep_blank_values=True)))
    found = _found(text, finder)
    if found is not None:
        return found
    if first == "<":
        return Body(BodyKind.HTML if _HTML.match(text) else BodyKind.TEXT, text=text)
    return Body(BodyKind.UNREADABLE if "\0" in text else BodyKind.TEXT, text=text)


def holds_whole_object(content: bytes) -> bool:
    """Return whether bytes are one JSON object from beginning to end: then nothing of it is still to come."""
    stripped = content.strip()
    if stripped[:1] != b"{" or stripped[-1:] != b"}":
        return False
    try:
        return isinstance(json.loads(stripped), dict)
    except (ValueError, RecursionError):
        return False


def _text(content: bytes, content_type: str) -> str:
    while content.startswith(_MARK):
        content = content[len(_MARK) :]
    named = _CHARSET.search(content_type)
    wide = b"\0" in content[:4]  # UTF-16 and UTF-32 begin so, and UTF-8 would take them
    guesses = [json.detect_encoding(content)] if wide else ["utf-8"]
    for encoding in [*guesses, named[1] if named else "utf-8"]:
        try:
            return content.decode(encoding)
        except (LookupError, UnicodeError):
            continue
    return content.decode("latin-1")


def _json_body(text: str, finder: Finder) -> Body:
    """Read text that begins as JSON does."""
    try:
        return _of_document(_DECODER.decode(text), finder, _PACKED_MAX)
    except (ValueError, RecursionError):
        found = _found(text, finder)
        return found if found is not None else _salvaged(text)


def _of_document(document: object, finder: Finder, packed: int) -> Body:
    if isinstance(document, list):  # Salesforce wraps errors in a list
        rows = [item for item in document if isinstance(item, dict)]
        holders = distinct(rows, finder)
        if len(holders) > 1:
            return Body(BodyKind.UNREADABLE, rivals=holders)
        document = next((row for row in rows if finder(row)), rows[0] if rows else {})
    if isinstance(document, dict):
        return Body(BodyKind.JSON, document, is_whole=True)
    if not isinstance(document, str):
        return Body(BodyKind.JSON, is_whole=True)
    if packed and document.lstrip()[:1] in {"{", "[", '"'}:
        try:
            return _of_document(_DECODER.decode(document.strip()), finder, packed - 1)
        except (ValueError, RecursionError):
            pass
    return Body(BodyKind.JSON, text=document, is_whole=True)


def _found(text: str, finder: Finder) -> Body | None:
    """Return the object that holds an access token; else an error with which the text ends."""
    objects, broken_at = _objects(text)
    holders = [one for _, one, _ in objects if finder(one)]
    if len(rivals := distinct(holders, finder)) > 1:
        return Body(BodyKind.UNREADABLE, text=text, rivals=rivals)
    if holders:
        # One token in several objects: the one that says most of it.
        return Body(BodyKind.JSON, max(holders, key=len), is_whole=True)
    if broken_at is not None:
        salvaged = _salvaged(text)
        return salvaged if salvaged.rivals or finder(salvaged.fields) else None
    if not objects:
        return None
    start, last, end = objects[-1]
    is_alone = start == 0 and len(objects) == 1
    if is_alone or (last.get("error") and _TAIL.fullmatch(text, end)):
        return Body(BodyKind.JSON, last, is_whole=True)
    return None


def _objects(text: str) -> tuple[list[tuple[int, dict[str, object], int]], int | None]:
    """Return the JSON objects that stand in a text, from left to right, each with where it begins and ends.

    Returns beside them where an object begins that is broken: what stands behind may be inside it, and is not looked at.
    """
    found: list[tuple[int, dict[str, object], int]] = []
    begins = _OBJECT.search(text)
    while begins is not None:
        at = begins.start()
        document, end = _decoded(text, at)
        if document is None:
            document, end = _decoded(_mended(text[at:]), 0)
            end += at
        if document is None:
            return found, at
        found.append((at, document, end))
        begins = _OBJECT.search(text, end)
    return found, None


def _mended(text: str) -> str:
    """Return the text with comments, and commas before a closing bracket, blanked; everything keeps its place."""
    for pattern in (_COMMENT, _LAST_COMMA):
        text = pattern.sub(lambda piece: piece[0] if piece[0][0] == '"' else " " * len(piece[0]), text)
    return text


def _decoded(text: str, at: int) -> tuple[dict[str, object] | None, int]:
    """Read the object that begins here, and give where it ends; None where it is broken."""
    try:
        document, end = _DECODER.raw_decode(text, at)
    except (ValueError, RecursionError):
        return None, at
    return (document, end) if isinstance(document, dict) else (None, at)


def _salvaged(text: str) -> Body:
    """Return the complete members of JSON that was cut or is broken elsewhere: a token may be among them.

    Of a name that stands twice the outer one counts, then the first.
    """
    depth = 0
    members: list[tuple[int, str, object]] = []
    for piece in _PIECE.finditer(text):
        depth += bool(piece[3]) - bool(piece[4])
        if piece[1]:
            with suppress(ValueError):
                members.append((depth, piece[1], json.loads(piece[2])))
    members.sort(key=itemgetter(0))
    found: dict[str, object] = {}
    for _, name, value in members:
        found.setdefault(name, value)
    outermost = next((level for level, name, _ in members if name == "access_token"), None)
    tokens = {str(value) for level, name, value in members if (level, name) == (outermost, "access_token")}
    if len(tokens) > 1:
        return Body(BodyKind.UNREADABLE, text=text, rivals=tuple({"access_token": token} for token in tokens))
    return Body(BodyKind.UNREADABLE, found, text)


def distinct(objects: Iterable[Mapping[str, object]], finder: Finder) -> tuple[Mapping[str, object], ...]:
    """Return of those that hold an access token one for each different one: the one that says most."""
    holders: dict[str, Mapping[str, object]] = {}
    for one in objects:
        token = finder(one)
        if token and len(one) > len(holders.get(token, ())):
            holders[token] = one
    return tuple(holders.values())


def inner_objects(document: object, depth: int = _DEEPEST) -> Iterator[Mapping[str, object]]:
    """Return the objects inside an object, those in its lists and in its strings of JSON among them."""
    if depth == 0:
        return
    values: list[object] = []
    if isinstance(document, Mapping):
        values = list(document.values())
    elif isinstance(document, list):
        values = document
    for value in values:
        inner = value
        if isinstance(inner, str) and inner.lstrip()[:1] == "{":
            try:
                inner = _DECODER.decode(inner.strip())
            except (ValueError, RecursionError):
                continue
        if isinstance(inner, Mapping):
            yield inner
        if isinstance(inner, Mapping | list):
            yield from inner_objects(inner, depth - 1)


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object. Of a key that stands twice the last one counts that is not empty (RFC 8259 leaves it open)."""
    members = dict(pairs)
    if len(members) < len(pairs):
        members.update({key: value for key, value in pairs if value not in (None, "")})
    return members


def _whole_number(digits: str) -> int | float:
    return int(digits) if len(digits) <= _LONGEST_INT else float("inf")


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_members, parse_int=_whole_number, strict=False)
