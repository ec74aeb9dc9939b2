"""What this process sends to workers of ours is signed, where there is a key for it."""

from __future__ import annotations

from functools import cache
from typing import Any

from celery import Task
from celery.signals import before_task_publish
from kombu.serialization import dumps

from worker.broker.messages import SIGNATURE, Signer
from worker.clock import shared_now
from worker.settings import load_settings


class CheckedTask(Task[Any, Any]):
    """A task whose messages are looked at before they are taken apart, in the worker that takes them."""

    abstract = True
    Strategy = "worker.celery.strategy:strategy"


@before_task_publish.connect
def _sign(headers: dict[str, Any] | None = None, body: Any = None, **_: Any) -> None:
    """Sign what this process sends to workers of ours; a task of another application is its own affair."""
    signer = signer_of_this_process()
    if signer is None or headers is None or not str(headers.get("task")).startswith("refreshd."):
        return
    _type, _encoding, text = dumps(body, serializer="json")  # exactly as it is written afterwards
    headers[SIGNATURE] = signer.sign(headers, text, now=shared_now())


@cache
def signer_of_this_process() -> Signer | None:
    """Return what signs and verifies, None where REFRESHD_MESSAGE_KEYS is not set."""
    keys = load_settings().message_keys
    return None if keys is None else Signer.of(keys.get_secret_value())
