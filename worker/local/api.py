"""The API process on this machine: an environment that opens nothing, and a first key to try it with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from models.tables.api_key import ApiScope, Credential
from models.tables.audit import Actor
from worker.clock import Clock
from worker.crypto.keyring import load_cipher, source_of
from worker.crypto.private_file import write_private
from worker.db.intake.api_keys import ApiKeys
from worker.errors import InputError
from worker.settings import Settings
from worker.settings.api import ApiSettings

#: What an API process must not have: each opens something, or is a secret that it has no use for. Empty is unset, and hides
#: what `.env` has.
WITHHELD: Final = (
    "REFRESHD_KEYS",
    "REFRESHD_KEYS_FILE",
    "REFRESHD_KEYS_COMMAND",
    "REFRESHD_WEBHOOK_URL",
    "REFRESHD_WEBHOOK_SECRET",
    "REFRESHD_FLOWER_BASIC_AUTH",
)
#: Holds the first key, in the data folder.
KEY_FILE: Final = "api.key"
#: The first key's name; further ones have numbers.
KEY_NAME: Final = "first"
_NAMES_TRIED: Final = 100


def opens_something(settings: Settings, api: ApiSettings) -> bool:
    """Return whether these settings have what an API process must not have."""
    return (
        source_of(settings) is not None
        or (settings.intake_key is None and settings.made_keys_file.exists())
        or settings.webhook_url is not None
        or (settings.publish_keys is not None and not api.tokens)
    )


def api_environment(settings: Settings, api: ApiSettings, environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment for an API process.

    What follows from the withheld settings is set in their place: the public intake key, that published tokens are sealed,
    and that webhooks are sent.
    """
    found = {**environment, **dict.fromkeys(WITHHELD, "")}
    if settings.intake_key is None:
        found["REFRESHD_INTAKE_KEY"] = load_cipher(settings).intake_key
    if settings.publish_keys is not None:
        found["REFRESHD_API_SEALED_TOKENS"] = "true"
        if not api.tokens:
            found["REFRESHD_PUBLISH_KEYS"] = ""
    if settings.webhook_url is not None:
        found["REFRESHD_API_WEBHOOKS"] = "true"
    return found


def first_key(keys: ApiKeys, clock: Clock, folder: Path, actor: Actor) -> tuple[Path, bool]:
    """Return the file of a key that is valid for everything, and whether it was made now."""
    file = folder / KEY_FILE
    sent = Credential.parse(file.read_text(encoding="utf-8").strip()) if file.exists() else None
    stored = None if sent is None else keys.find(sent.id)
    if sent and stored is not None and stored.opens_with(sent.secret) and stored.is_valid(clock.now()):
        return file, False
    for number in range(1, _NAMES_TRIED):
        try:
            name = KEY_NAME if number == 1 else f"{KEY_NAME}-{number}"
            _, made = keys.create(name, scopes=list(ApiScope), labels={}, expires_s=None, actor=actor)
        except InputError:  # the name is taken, by a key whose file is gone
            continue
        write_private(file, f"{made.to_text()}\n")
        return file, True
    raise InputError(
        "api.key", "was deleted too often; make a key with `refreshd api-keys create` and put it there"
    )
