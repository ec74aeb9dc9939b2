"""What a worker answers about its keys: their ids, and never a key."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from celery.worker.control import inspect_command

_ids: Final[list[str]] = []


def note_key_ids(ids: Sequence[str]) -> None:
    """Note the keys that this worker started with: a file or an environment that changed since then changes nothing here."""
    _ids[:] = ids


@inspect_command(name="refreshd_key_ids")
def answer_key_ids(_state: Any) -> dict[str, list[str]]:
    """Return the ids of this worker's keys, the one that it seals with first."""
    return {"key_ids": list(_ids)}
