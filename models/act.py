"""What people do to the fleet, as the audit trail (`models/tables/audit.py`) will have it."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from msgspec import Struct, field


class Action(StrEnum):
    """The action of an entry."""

    ADD = "add"
    EDIT = "edit"
    ENABLE = "enable"
    DISABLE = "disable"
    AUTHORIZE = "authorize"
    #: A new grant took the place of the stored one.
    GRANT = "grant"
    REMOVE = "remove"
    #: A grant was to be revoked; whether it has ended is unknown, and its account stays.
    REVOKE = "revoke"
    IMPORT = "import"
    EXPORT = "export"
    REFRESH = "refresh"
    CALLBACK_TEST = "callback_test"
    REVEAL = "reveal"
    PAUSE = "pause"
    RESUME = "resume"
    KEYS_ROTATE = "keys_rotate"
    CLIENT_ADD = "client_add"
    CLIENT_EDIT = "client_edit"
    CLIENT_REMOVE = "client_remove"
    DB_RESTORED = "db_restored"
    API_KEY_CREATE = "api_key_create"
    API_KEY_REVOKE = "api_key_revoke"


class Actor(Struct, frozen=True):
    """The person of an entry, and the machine."""

    name: str
    host: str


class Act(Struct, frozen=True):
    """An entry to be written. `detail` names fields and counts, never the value of a secret."""

    action: Action
    account: str | None = None
    provider: str | None = None
    detail: dict[str, Any] = field(default_factory=dict)
