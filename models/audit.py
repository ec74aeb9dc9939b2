"""The audit trail: what people did to the fleet. Entries are added and, after years, pruned; none is changed."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from sqlalchemy import Float, Index, Text
from sqlmodel import Field, SQLModel


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


@dataclass(frozen=True, slots=True)
class Actor:
    """The person of an entry, and the machine."""

    name: str
    host: str


@dataclass(frozen=True, slots=True)
class Act:
    """An entry to be written. `detail` names fields and counts, never the value of a secret."""

    action: Action
    account: str | None = None
    provider: str | None = None
    detail: dict[str, Any] = field(default_factory=dict)


class Audit(SQLModel, table=True):
    """One row of `audit`. `at` is epoch seconds (UTC) of the database's clock."""

    __tablename__ = "audit"
    __table_args__ = (
        Index("ix_audit_account_at", "account_id", "at"),
        Index("ix_audit_at", "at"),
    )

    id: str = Field(primary_key=True)
    at: float = Field(sa_type=Float)
    actor: str
    host: str
    action: str
    #: None: it was done to more than one account, or to none.
    account_id: str | None = None
    provider: str | None = None
    #: JSON object.
    detail: str = Field(default="{}", sa_type=Text)

    def to_json(self) -> dict[str, Any]:
        """Return the entry as scripts and clients of the API read it."""
        return {"kind": "audit"} | self.model_dump() | {"detail": json.loads(self.detail)}
