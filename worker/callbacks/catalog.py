"""What this process can run under which name: the operator's file, and what the Python modules registered."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from difflib import get_close_matches
from typing import Any, Final, Self

from models.callback_file import CallbackFileError, Definition, EndpointCallback, load_callback_file
from worker.callbacks.sandbox.protocol import Described
from worker.errors import SettingsError
from worker.settings import Settings

PYTHON: Final = "python"
ENDPOINT: Final = "endpoint"
TASK: Final = "task"
#: So many near spellings, and so many names, are offered.
_OFFERED: Final = 3
_LISTED: Final = 20


@dataclass(frozen=True, slots=True)
class Configured:
    """An endpoint or a task, with its secret."""

    definition: Definition
    secret: str = field(repr=False)
    #: The URL of a task's own broker; None: refreshd's.
    broker: str | None = field(default=None, repr=False)

    @property
    def secrets(self) -> tuple[str, ...]:
        """What no callback's environment may hold."""
        return (self.secret, self.broker) if self.broker else (self.secret,)

    @property
    def kind(self) -> str:
        return ENDPOINT if isinstance(self.definition, EndpointCallback) else TASK

    def where(self, name: str) -> str:
        """Return where it goes: an address without its query, or a task and its queue."""
        if isinstance(self.definition, EndpointCallback):
            return self.definition.url.partition("?")[0]
        return f"{self.definition.task} on {queue_of(name, self.definition.queue)}"


@dataclass(frozen=True, slots=True)
class Offered:
    """One callback, as `refreshd callbacks list` shows it."""

    kind: str
    where: str
    timeout_s: float | None = None


@dataclass(frozen=True, slots=True)
class CallbackCatalog:
    """Everything that one worker runs, and what it could not take in."""

    callbacks: Mapping[str, Offered] = field(default_factory=dict)
    problems: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, configured: Mapping[str, Configured], described: Described) -> Self:
        """Put both sources together; a name that stands in both is the file's."""
        callbacks = {
            name: Offered(PYTHON, known.where, known.timeout_s) for name, known in described.callbacks.items()
        }
        problems = dict(described.problems)
        for name, one in configured.items():
            if name in callbacks:
                problems[name] = (
                    f"stands in REFRESHD_CALLBACKS_FILE and at {callbacks[name].where}: the file's is run"
                )
            callbacks[name] = Offered(one.kind, one.where(name), one.definition.timeout_s)
        return cls(dict(sorted(callbacks.items())), problems)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, payload: Mapping[str, Any]) -> Self:
        """Read what `to_json` gave.

        Raises:
            KeyError, TypeError: it is something else.
        """
        return cls({n: Offered(**one) for n, one in payload["callbacks"].items()}, dict(payload["problems"]))


def configured_callbacks(settings: Settings) -> dict[str, Configured]:
    """Read REFRESHD_CALLBACKS_FILE and the secrets that it names.

    Raises:
        SettingsError: the file, an entry or a secret can't be read; never shows a secret.
    """
    try:
        definitions = load_callback_file(settings.callbacks_file)
    except CallbackFileError as error:
        raise SettingsError(f"REFRESHD_CALLBACKS_FILE: {error}") from None
    return {
        name: Configured(one, _secret(name, one), _broker(name, one)) for name, one in definitions.items()
    }


def queue_of(name: str, queue: str | None) -> str:
    """Return the queue of a task: its own, else one named after the callback."""
    return queue or f"callback.{name}"


def unknown_words(name: str, known: Mapping[str, object]) -> str:
    """Return that there is no such callback, with the nearest spelling and what there is."""
    names = sorted(known)
    there = ", ".join(names[:_LISTED]) + (", ..." if len(names) > _LISTED else "") or "none at all"
    brief = unknown_briefly(name, known)
    return f"{brief}{' ' if brief.endswith('?') else '; '}known: {there}"


def unknown_briefly(name: str, known: Mapping[str, object]) -> str:
    """Return that there is no such callback, with the nearest spelling."""
    near = get_close_matches(name, known, _OFFERED)
    return f"no callback {name!r}" + (f"; did you mean {' or '.join(map(repr, near))}?" if near else "")


def _secret(name: str, definition: Definition) -> str:
    where = f"REFRESHD_CALLBACKS_FILE: {name}"
    if definition.secret_env is not None:
        return _variable(name, definition.secret_env, "secret_env")
    try:
        return str(definition.secret_file and definition.secret_file.read_text(encoding="utf-8").strip())
    except OSError as error:
        raise SettingsError(f"{where}: secret_file can't be read: {error}") from None


def _broker(name: str, definition: Definition) -> str | None:
    if isinstance(definition, EndpointCallback) or definition.broker_env is None:
        return None
    from refreshd_reader.redis import sentinel  # late: it brings the client of Redis

    url = _variable(name, definition.broker_env, "broker_env")
    try:
        if sentinel.is_sentinel(url):
            sentinel.SentinelAddress.of(url)
    except ValueError as error:
        raise SettingsError(
            f"REFRESHD_CALLBACKS_FILE: {name}: {definition.broker_env} (broker_env): {error}"
        ) from None
    return url


def _variable(callback: str, name: str, field: str) -> str:
    value = os.environ.get(name, "").strip()
    if not value:
        raise SettingsError(
            f"REFRESHD_CALLBACKS_FILE: {callback}: the environment variable {name} ({field}) is not set"
        )
    return value
