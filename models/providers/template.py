"""Texts with variables in provider data: `https://${account.subdomain}.example.com/token`.

A template is looked up, never evaluated. Its grammar, whole:

    template  = part (" || " part)*       the first part whose variables all have a value is used
    part      = (text | "${" variable "}" | "${base64(" text and variables ")}")*
    variable  = "account." NAME           a field of the account, else one of its custom fields
              | "custom." NAME            one of its custom fields
              | "random"                  a new UUID for each call
              | "now" | "now:ms" | "now:iso"

A variable that is unknown or empty is an error, at import (`unresolved`) and again at the call.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from functools import lru_cache
from typing import Final
from urllib.parse import quote, urlsplit

from msgspec import Struct

#: Returns a variable's value, None or "" where the account has none.
Lookup = Callable[[str], str | None]

_TOKEN: Final = re.compile(r"\$\{base64\(((?:[^${}()]|\$\{[^{}]*\})*)\)\}|\$\{([^{}]*)\}")
_VARIABLE: Final = re.compile(r"(?:account|custom)\.[A-Za-z0-9_.-]{1,64}|random|now(?::ms|:iso)?")
_ALTERNATIVE: Final = " || "
#: Characters of a host, with or without a port: none that could end the host and begin a path.
_HOST: Final = re.compile(r"[A-Za-z0-9.-]+(?::\d{1,5})?")
#: RFC 1035 section 2.3.4; and what stands in no host.
_HOST_MAX: Final = 253
_NO_HOST: Final = re.compile(r"[{}@\s]")
#: The end of a host behind a variable that keeps it in one place: at least two labels.
_FIXED_END: Final = re.compile(r"(\.[a-z0-9-]+){2,}")
#: A value for the scheme and host of a URL, and the beginning of its path.
_ORIGIN: Final = re.compile(r"https?://[A-Za-z0-9.-]+(?::\d{1,5})?(?:/[A-Za-z0-9._~/-]*)?")


class TemplateError(ValueError):
    """A template that can't be read, or a variable without a value. The message never holds a value."""


class UnfitValue(TemplateError):
    """A value that would change what a URL points at.

    Args:
        variable: whose value it is.
        reason: what the variable stands for, and what its value may look like.
    """

    def __init__(self, variable: str, reason: str) -> None:
        super().__init__(f"${{{variable}}} {reason}")
        self.variable = variable
        self.reason = reason


class _Place(Enum):
    """Where in a URL a variable stands: what its value may look like depends on it."""

    ORIGIN = "origin"
    HOST = "host"
    ELSEWHERE = "elsewhere"


class _Text(Struct, frozen=True):
    text: str


class _Variable(Struct, frozen=True):
    name: str
    place: _Place = _Place.ELSEWHERE


class _Base64(Struct, frozen=True):
    parts: tuple[_Text | _Variable, ...]


_Part = _Text | _Variable | _Base64


class Template(Struct, frozen=True):
    """A parsed template. `parse` returns cached ones."""

    source: str
    alternatives: tuple[tuple[_Part, ...], ...]
    #: The whole text, where there is no variable in it.
    constant: str | None

    def variables(self) -> tuple[frozenset[str], ...]:
        """Return the variables of each alternative."""
        return tuple(frozenset(_variables(parts)) for parts in self.alternatives)

    def hosts(self) -> Iterator[str]:
        """Return the hosts that this URL can lead to: `a.example.com`, `*.example.com`, or `*` for any."""
        for parts in self.alternatives:
            text = "".join(part.text if isinstance(part, _Text) else "\0" for part in parts)
            authority = re.split(r"[/?#]", text.partition("://")[2], maxsplit=1)[0]
            before, variable, fixed = re.sub(r":\d*$", "", authority).casefold().rpartition("\0")
            if text.startswith("\0") or (variable and not _FIXED_END.fullmatch(fixed)):
                yield "*"
            elif authority:
                yield f"*{fixed}" if variable else before + fixed

    def unresolved(self, lookup: Lookup) -> list[str]:
        """Return the variables without a value: none if one alternative can be filled in, else those of the last."""
        missing: list[str] = []
        for parts in self.alternatives:
            missing = [name for name in _variables(parts) if not lookup(name)]
            if not missing:
                return []
        return sorted(set(missing))

    def text(self, lookup: Lookup) -> str:
        """Return the text with its values as they are.

        Raises:
            TemplateError: a variable has no value.
        """
        if self.constant is not None:
            return self.constant
        return "".join(_render(part, lookup) for part in self._chosen(lookup))

    def url(self, lookup: Lookup) -> str:
        """Return the URL with its values: percent-encoded, or checked where they stand for (a part of) its host.

        Raises:
            TemplateError: a variable has no value.
            UnfitValue: a value would change what the URL points at.
        """
        if self.constant is not None:
            return self.constant
        return "".join(_render_in_url(part, lookup) for part in self._chosen(lookup))

    def _chosen(self, lookup: Lookup) -> tuple[_Part, ...]:
        for parts in self.alternatives:
            if all(lookup(name) for name in _variables(parts)):
                return parts
        raise TemplateError(f"no value for {', '.join(self.unresolved(lookup))} in {self.source!r}")


@lru_cache(maxsize=4096)
def host_of(url: str) -> str | None:
    """Return a URL's host, without port and in small letters; None where it has none."""
    try:
        host = urlsplit(url).hostname
    except ValueError:
        return None
    return host if host and len(host) <= _HOST_MAX and not _NO_HOST.search(host) else None


@lru_cache(maxsize=4096)
def parse(source: str) -> Template:
    """Read a template.

    Raises:
        TemplateError: something in `${...}` is no variable, or a `${` is left open.
    """
    alternatives = tuple(_parts(piece) for piece in source.split(_ALTERNATIVE))
    return Template(source, alternatives, _constant(alternatives[0]))


def _constant(parts: tuple[_Part, ...]) -> str | None:
    """Return the text of an alternative without variables, which any lookup fills in."""
    if not parts:
        return ""
    return parts[0].text if len(parts) == 1 and isinstance(parts[0], _Text) else None


def _parts(source: str) -> tuple[_Part, ...]:
    parts: list[_Part] = []
    at = 0
    for match in _TOKEN.finditer(source):
        _add_text(parts, source[at : match.start()], source)
        at = match.end()
        if match[1] is not None:
            inner = _parts(match[1])
            parts.append(_Base64(tuple(part for part in inner if not isinstance(part, _Base64))))
        else:
            parts.append(_Variable(_checked(match[2], source), _place(source[: match.start()])))
    _add_text(parts, source[at:], source)
    return tuple(parts)


def _add_text(parts: list[_Part], text: str, source: str) -> None:
    if "${" in text:
        raise TemplateError(f"a '${{' that is not closed, or a function that does not exist, in {source!r}")
    if text:
        parts.append(_Text(text))


def _checked(name: str, source: str) -> str:
    if not _VARIABLE.fullmatch(name):
        raise TemplateError(
            f"{name!r} is no variable in {source!r}: "
            "use account.NAME, custom.NAME, random, now, now:ms or now:iso"
        )
    return name


def _place(before: str) -> _Place:
    if not before:
        return _Place.ORIGIN
    scheme, separator, rest = before.partition("://")
    in_host = separator and "/" not in scheme and not re.search(r"[/?#]", rest)
    return _Place.HOST if in_host else _Place.ELSEWHERE


def _variables(parts: tuple[_Part, ...]) -> Iterator[str]:
    for part in parts:
        if isinstance(part, _Variable):
            yield part.name
        elif isinstance(part, _Base64):
            yield from _variables(part.parts)


def _render(part: _Part, lookup: Lookup) -> str:
    if isinstance(part, _Text):
        return part.text
    if isinstance(part, _Base64):
        joined = "".join(_render(inner, lookup) for inner in part.parts)
        return base64.b64encode(joined.encode()).decode()
    return lookup(part.name) or ""


def _render_in_url(part: _Part, lookup: Lookup) -> str:
    value = _render(part, lookup)
    if isinstance(part, _Text):
        return value
    if isinstance(part, _Base64) or part.place is _Place.ELSEWHERE:
        return quote(value, safe="")
    if part.place is _Place.ORIGIN:
        if not _ORIGIN.fullmatch(value):
            raise UnfitValue(part.name, "stands for the beginning of a URL; expected https://HOST")
        return value.rstrip("/")
    if not _HOST.fullmatch(value):
        raise UnfitValue(
            part.name, "stands for a host; expected letters, digits, '.' and '-', without https:// and a path"
        )
    return value


def texts_in(value: object, name: str = "") -> list[tuple[str, str]]:
    """Return the texts in an option's value, any of which may be a template, each with where it stands (`a.0.b`)."""
    if isinstance(value, str):
        return [(name, value)]
    if isinstance(value, Mapping):
        items: list[tuple[str, object]] = [(str(key), inner) for key, inner in value.items()]
    elif isinstance(value, list | tuple):
        items = [(str(index), inner) for index, inner in enumerate(value)]
    else:
        return []
    return [found for key, inner in items for found in texts_in(inner, f"{name}.{key}" if name else key)]
