"""Keys of the run-time API, and what was answered to requests that may come twice."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Collection
from enum import StrEnum
from typing import Final

from msgspec import Struct
from sqlalchemy import Column, Float, Index, Text
from sqlmodel import Field, SQLModel

from models.label import NO_LABELS, read_labels

#: 256 random bits need no slow hash: no list of likely ones can be tried.
_SECRET_BYTES: Final = 32
#: 48 bits tell some thousand keys apart.
_ID_BYTES: Final = 6
_TEXT: Final = re.compile(r"rk_([0-9a-f]{1,32})_([A-Za-z0-9_-]{1,128})")


class ApiScope(StrEnum):
    """What a key is good for. `admin` is good for all the others, and for clients."""

    ACCOUNTS_READ = "accounts:read"
    ACCOUNTS_WRITE = "accounts:write"
    TOKENS_READ = "tokens:read"
    CONNECT = "connect"
    ADMIN = "admin"


class ApiKey(SQLModel, table=True):
    """One row of `api_key`. Times are epoch seconds (UTC) of the database's clock."""

    __tablename__ = "api_key"

    id: str = Field(primary_key=True, max_length=32)
    #: The audit trail names it.
    name: str = Field(unique=True, max_length=128)
    #: SHA-256 of the secret, hexadecimal.
    secret_hash: str
    #: JSON list of `ApiScope`.
    scopes: str
    #: JSON object name -> value: the key sees and touches only accounts that have all of them.
    labels: str = Field(default=NO_LABELS, sa_column=Column(Text, nullable=False))
    created_at: float = Field(sa_type=Float)
    #: None: it has no end.
    expires_at: float | None = Field(default=None, sa_type=Float)
    revoked_at: float | None = Field(default=None, sa_type=Float)
    #: When it was last used, to the minute.
    used_at: float | None = Field(default=None, sa_type=Float)

    @property
    def scope_set(self) -> frozenset[str]:
        """Return its scopes."""
        return frozenset(json.loads(self.scopes))

    @property
    def label_set(self) -> dict[str, str]:
        """Return its labels, name -> value."""
        return read_labels(self.labels)

    def is_valid(self, now: float) -> bool:
        """Return whether it is neither revoked nor over."""
        return self.revoked_at is None and (self.expires_at is None or self.expires_at > now)

    def opens_with(self, secret: str) -> bool:
        """Return whether this is its secret, in a time that says nothing about it."""
        return hmac.compare_digest(hash_of(secret), self.secret_hash)


class IdempotentRequest(SQLModel, table=True):
    """One row of `idempotency`: a POST with an `Idempotency-Key`, and its answer once there is one."""

    __tablename__ = "idempotency"
    __table_args__ = (Index("ix_idempotency_created_at", "created_at"),)

    key_id: str = Field(primary_key=True, max_length=32)
    idempotency_key: str = Field(primary_key=True, max_length=255)
    #: SHA-256 of method, path and body.
    request_hash: str
    #: Status of the answer; None: the request is under way.
    status: int | None = None
    #: Body of the answer (JSON).
    body: str = Field(default="", sa_column=Column(Text, nullable=False))
    created_at: float = Field(sa_type=Float)


class Credential(Struct, frozen=True):
    """A key as it stands in an `Authorization` header."""

    id: str
    secret: str

    @classmethod
    def parse(cls, text: str) -> Credential | None:
        """Read `rk_ID_SECRET`; None where it is no such text."""
        found = _TEXT.fullmatch(text)
        return None if found is None else cls(found[1], found[2])

    @classmethod
    def make(cls) -> Credential:
        """Return a new one."""
        return cls(secrets.token_hex(_ID_BYTES), secrets.token_urlsafe(_SECRET_BYTES))

    def to_text(self) -> str:
        """Return it as a client sends it."""
        return f"rk_{self.id}_{self.secret}"

    def __repr__(self) -> str:
        return f"Credential({self.id!r})"


def hash_of(secret: str) -> str:
    """Return the hash of a secret that is stored."""
    return hashlib.sha256(secret.encode()).hexdigest()


def write_scopes(scopes: Collection[str]) -> str:
    """Return the text of the column `scopes`."""
    return json.dumps(sorted(set(scopes)))
