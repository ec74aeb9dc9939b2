"""The environment that other people's code runs in: ours, without anything that opens a store."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from typing import Final
from urllib.parse import unquote, urlsplit

from worker.settings import Settings

#: Settings of ours, of Flower, of Celery, and what PostgreSQL's own tools read.
_OURS: Final = ("REFRESHD_", "FLOWER_", "CELERY_", "PG", "POSTGRES_", "REDIS_", "REDISCLI_")
#: A shorter value is a word; whoever uses `secret` as a password has other worries.
_SHORTEST: Final = 6


def environment_of_callbacks(settings: Settings, secrets: Iterable[str] = ()) -> dict[str, str]:
    """Return the environment of callbacks in this process. `secrets` are those of endpoints and tasks."""
    rings = [
        ring.get_secret_value()
        for ring in (settings.keys, settings.publish_keys, settings.message_keys)
        if ring is not None
    ]
    texts = [key.rpartition(":")[2] for ring in rings for key in re.split(r"[,\s]+", ring)]
    return keyless(os.environ, [*texts, settings.database, settings.redis, settings.broker, *secrets])


def keyless(environment: Mapping[str, str], secrets: Iterable[str]) -> dict[str, str]:
    """Return an environment without our settings, and without any variable that holds one of our secrets.

    Everything else stays: a callback may have variables of its own, and needs proxies, time zone and certificates.

    Args:
        environment: the worker's own.
        secrets: keys, and URLs with a password in them.
    """
    texts = {text for secret in secrets for text in (secret, _password(secret)) if len(text) >= _SHORTEST}
    return {
        name: value
        for name, value in environment.items()
        if not name.startswith(_OURS) and not any(text in value for text in texts)
    }


def _password(url: str) -> str:
    try:
        return unquote(urlsplit(url).password or "")
    except ValueError:
        return ""
