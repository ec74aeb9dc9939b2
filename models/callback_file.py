"""Callbacks that are not Python functions, as the operator's file describes them (REFRESHD_CALLBACKS_FILE).

    acme:                                   # an HTTP endpoint
      url: https://callbacks.example/acme
      secret_env: ACME_CALLBACK_SECRET
      timeout_s: 20
    mega:                                   # a Celery task
      task: mega.refresh
      secret_file: /run/secrets/mega

The file holds no secret: it names the environment variable, or the file, that does.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from models.callback import CALLBACK_NAME


class CallbackFileError(Exception):
    """The file can't be used: names each entry and field that is wrong."""


class _Definition(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    secret_env: str | None = None
    """The environment variable of the worker that holds the secret: base64, with or without `whsec_`."""
    secret_file: Path | None = None
    """The file that holds it."""
    timeout_s: Annotated[float, Field(gt=0)] | None = None
    """Seconds for the whole call. None, and at most: the call timeout."""

    @model_validator(mode="after")
    def _one_secret(self) -> Self:
        if (self.secret_env is None) == (self.secret_file is None):
            raise ValueError("no single secret; expected one of secret_env and secret_file")
        return self


class EndpointCallback(_Definition):
    """An HTTP endpoint: the inputs are POSTed as JSON, signed; the answer is the outputs."""

    url: str


class TaskCallback(_Definition):
    """A Celery task of the operator's, on a queue of the operator's."""

    task: Annotated[str, Field(min_length=1)]
    queue: str | None = None
    """Its queue; None: `callback.` and the callback's name."""
    broker_env: str | None = None
    """The environment variable of the worker that holds the URL of its broker; None: refreshd's own."""


Definition = EndpointCallback | TaskCallback


def load_callback_file(file: Path | None) -> dict[str, Definition]:
    """Read the file, name -> definition; nothing where there is none.

    Raises:
        CallbackFileError: it can't be read, or an entry is wrong. Every wrong entry is named.
    """
    if file is None:
        return {}
    try:
        entries = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:  # a date may be none, too
        raise CallbackFileError(f"{file} can't be read: {error}") from None
    if entries is None:
        return {}
    if not isinstance(entries, dict):
        raise CallbackFileError(f"{file}: not a mapping; expected callbacks by name")
    found: dict[str, Definition] = {}
    wrong: list[str] = []
    for name, entry in entries.items():
        try:
            found[str(name)] = _definition(str(name), entry)
        except CallbackFileError as error:
            wrong.append(str(error))
    if wrong:
        raise CallbackFileError("\n".join(f"{file}: {problem}" for problem in wrong))
    return found


def _definition(name: str, entry: Any) -> Definition:
    if not CALLBACK_NAME.fullmatch(name):
        raise CallbackFileError(f"{name!r} is no name for a callback: 1 to 64 letters, digits, . _ -")
    if not isinstance(entry, dict) or ("url" in entry) == ("task" in entry):
        raise CallbackFileError(f"{name}: expected either a url or a task")
    kind = EndpointCallback if "url" in entry else TaskCallback
    try:
        return kind.model_validate(entry)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, item['loc'])) or 'entry'}: {item['msg'].removeprefix('Value error, ')}"
            for item in error.errors(include_input=False)
        )
        raise CallbackFileError(f"{name}: {problems}") from None
