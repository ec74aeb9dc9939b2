"""Log lines as sentences for a person at a terminal: what happened to whom and why, and the names for scripts behind. Pure."""

from __future__ import annotations

from collections.abc import MutableMapping
from datetime import UTC, datetime
from typing import Any, Final

_DIM, _BOLD, _PLAIN = "\x1b[2m", "\x1b[1m", "\x1b[0m"
_COLOURS: Final = {"warning": "\x1b[33m", "error": "\x1b[31m", "critical": "\x1b[31m"}
#: What an event is about, the most telling first.
_ABOUT: Final = ("account", "accounts", "client", "endpoint", "callback", "queue", "path")
#: Why, the most telling first; each is a part of the sentence.
_WHY: Final = ("reason", "error", "detail")
#: Stands in a line's front, or is known from the sentence.
_FRONT: Final = ("event", "level", "timestamp", "exception", "stack")
#: What an attempt tells in words.
_ATTEMPT: Final = ("outcome", "generation", "http_status", "latency_ms", "next_refresh_at")


class Sentence:
    """A renderer of structlog's.

    Args:
        colours: whether the terminal shows them.
    """

    def __init__(self, *, colours: bool = True) -> None:
        self._colours = colours

    def __call__(self, _logger: Any, _method: str, event: MutableMapping[str, Any]) -> str:
        level = str(event.get("level", "info"))
        line = f"{self._in(_DIM, _clock(event.get('timestamp')))} "
        if level in _COLOURS:
            line += f"{self._in(_COLOURS[level], level)} "
        words, used = _words(event)
        line += self._in(_BOLD if level in _COLOURS else "", words)
        names = [
            f"{name}={value}"
            for name, value in event.items()
            if name not in used and name not in _FRONT and value not in (None, "")
        ]
        if names:
            line += "  " + self._in(_DIM, " ".join(names))
        behind = [str(event[name]) for name in ("stack", "exception") if event.get(name)]
        return "\n".join([line, *behind])

    def _in(self, style: str, words: str) -> str:
        return f"{style}{words}{_PLAIN}" if self._colours and style and words else words


def _words(event: MutableMapping[str, Any]) -> tuple[str, set[str]]:
    """Return the sentence, and the names that it has used."""
    used = {name for name in _WHY if event.get(name) not in (None, "")}
    attempt = event.get("event") == "attempt" and bool(event.get("outcome"))
    what = str(event["outcome"] if attempt else event.get("event", ""))
    words = _plain(what) if what.replace("_", "").isalnum() else what
    words = words[:1].upper() + words[1:]
    if about := next((name for name in _ABOUT if isinstance(event.get(name), str | int)), None):
        used.add(about)
        count = event[about] if about == "accounts" else None
        words += f" {event[about]}" if count is None else f", {count} accounts"
    if isinstance(event.get("provider"), str):
        used.add("provider")
        words += f" ({event['provider']})"
    why = [_plain(str(event[name])) for name in _WHY if name in used and str(event[name]) != what]
    if attempt:
        used |= {*_ATTEMPT}
        why += _figures(event)
    return (f"{words}: {', '.join(why)}" if why else words), used


def _figures(event: MutableMapping[str, Any]) -> list[str]:
    said = []
    if event.get("http_status") not in (None, 200):
        said.append(f"HTTP {event['http_status']}")
    if event.get("generation") is not None:
        said.append(f"generation {event['generation']}")
    if isinstance(event.get("latency_ms"), int | float):
        said.append(f"{event['latency_ms']:.0f} ms")
    if isinstance(next_at := event.get("next_refresh_at"), int | float):
        said.append(f"next at {datetime.fromtimestamp(next_at, UTC):%H:%M:%S}")
    return said


def _plain(word: str) -> str:
    """Return a stable name as words; a text stays as it is."""
    return word if " " in word else word.replace("_", " ")


def _clock(timestamp: object) -> str:
    """Return the time of day of an ISO timestamp, UTC."""
    return str(timestamp or "")[11:19]
