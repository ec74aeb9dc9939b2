"""A Secret is shown by nothing that shows things: the one way to its text is `reveal()`."""

from __future__ import annotations

import copy
import io
import json
import logging
import pickle
import pprint
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Final

import pytest
import structlog
from celery.utils.saferepr import saferepr
from kombu.utils.json import dumps as kombu_dumps
from pydantic import BaseModel, TypeAdapter
from rich.console import Console
from rich.pretty import pretty_repr

from models.token import Secret, TokenResponse
from worker.log.lines import redact

MARKER: Final = "mkshowntonobody3f2a"


class Model(BaseModel):
    one: Secret
    more: dict[str, list[Secret]]


@dataclass
class Record:
    one: Secret


def raised(show: Callable[[BaseException], str]) -> Callable[[Secret], str]:
    """Show an exception that was raised where a secret is a local variable, and that has it for an argument."""

    def caught(secret: Secret) -> str:
        local = {"token": secret}
        try:
            raise RuntimeError("failed with", secret, local)  # noqa: TRY301
        except RuntimeError as error:
            return show(error)

    return caught


def with_locals(error: BaseException) -> str:
    return "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())


def rich_with_locals(error: BaseException) -> str:
    shown = io.StringIO()
    console = Console(file=shown, width=200)
    try:
        raise error  # noqa: TRY301
    except BaseException:  # noqa: BLE001
        console.print_exception(show_locals=True)
    return shown.getvalue()


def logged(secret: Secret) -> str:
    event = redact(
        None, "info", {"event": "e", "plain": secret, "nested": {"a": [secret]}, "text": f"{secret}"}
    )
    return str(structlog.processors.JSONRenderer(default=str)(None, "info", dict(event))) + str(
        structlog.dev.ConsoleRenderer(colors=False)(None, "info", dict(event))
    )


def by_logging(secret: Secret) -> str:
    record = logging.LogRecord("n", logging.INFO, "p", 1, "%s %r", (secret, {"a": secret}), None)
    return logging.Formatter().format(record)


WAYS: Final[dict[str, Callable[[Secret], Any]]] = {
    "repr": repr,
    "str": str,
    "ascii": ascii,
    "format": lambda secret: f"{secret} {secret!r} {secret:>40} {secret!s}",
    "percent": lambda secret: "%s %r" % (secret, [secret]),  # noqa: UP031
    "in a container": lambda secret: repr([secret, {"a": secret}, (secret,), {secret}]),
    "pprint": lambda secret: pprint.pformat({"a": [secret]}),
    "rich": lambda secret: pretty_repr({"a": secret, "model": Model(one=secret, more={})}),
    "vars of what holds it": lambda secret: str(vars(Record(secret))),
    "dataclass": lambda secret: repr(Record(secret)),
    "token response": lambda secret: repr(TokenResponse(secret, secret)),
    "pydantic repr": lambda secret: repr(Model(one=secret, more={"a": [secret]})),
    "pydantic dump": lambda secret: repr(Model(one=secret, more={"a": [secret]}).model_dump()),
    "pydantic JSON": lambda secret: Model(one=secret, more={"a": [secret]}).model_dump_json(),
    "pydantic adapter": lambda secret: TypeAdapter(dict[str, Secret]).dump_json({"a": secret}),
    "json, by default=str": lambda secret: json.dumps({"a": secret}, default=str),
    "json, by default=repr": lambda secret: json.dumps({"a": secret}, default=repr),
    "Celery's repr of arguments": lambda secret: saferepr({"a": [secret]}),
    "structlog": logged,
    "logging": by_logging,
    "traceback with locals": raised(with_locals),
    "rich's traceback with locals": raised(rich_with_locals),
    "an exception's repr": raised(repr),
}

REFUSED: Final[dict[str, Callable[[Secret], Any]]] = {
    "pickle": pickle.dumps,
    "pickle of what holds it": lambda secret: pickle.dumps(Record(secret)),
    "deep copy": copy.deepcopy,
    "dataclasses.asdict": lambda secret: asdict(Record(secret)),
    "json": json.dumps,
    "a Celery message": lambda secret: kombu_dumps({"kwargs": {"token": secret}}),
}


@pytest.mark.parametrize("way", WAYS)
def test_it_is_shown_by_no(way: str) -> None:
    assert MARKER not in str(WAYS[way](Secret(MARKER)))


@pytest.mark.parametrize("way", REFUSED)
def test_it_does_not_travel_by(way: str) -> None:
    with pytest.raises(TypeError) as refused:
        REFUSED[way](Secret(MARKER))
    assert MARKER not in str(refused.value)


def test_the_table_would_see_a_text() -> None:
    shown = [way for way, show in WAYS.items() if MARKER in str(show(MARKER))]  # type: ignore[arg-type]
    assert len(shown) > len(WAYS) / 2


def test_a_fingerprint_stays_what_it_is() -> None:
    """Rows keep it from release to release: another one would make every stored refresh token a new one."""
    assert Secret("old-refresh").fingerprint() == "a3d379cd070f5315"
    assert Secret("half \udcff").fingerprint() == "1e79307b87e163ab"


def test_secrets_are_compared_by_their_texts_and_with_nothing_else() -> None:
    assert Secret("half \udcff") == Secret("half \udcff")
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
