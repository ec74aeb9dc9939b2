"""The audit trail: what people did to the fleet. Entries are added and, after years, pruned; none is changed."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import Float, Index, Text
from sqlmodel import Field, SQLModel

from models.act import Act, Action, Actor

__all__ = ["Act", "Action", "Actor", "Audit"]


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
