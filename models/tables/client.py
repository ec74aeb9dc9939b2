"""The client: what a provider registered for this installation, shared by the accounts that name it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

from sqlalchemy import Column, Float, Text
from sqlmodel import Field, SQLModel

#: The field under which a client's secret is sealed: no account has one of this name, so neither opens as the other.
CLIENT: Final = "client"
#: `wake_after` of a client that was just changed: before the first account's id.
FROM_THE_FIRST: Final = ""


class Client(SQLModel, table=True):
    """One row of `client`. Times are epoch seconds (UTC) of the database's clock.

    `client_id`, `client_auth` and `token_url` are copied to the accounts that name it, page by page after each change;
    the secret is read with each refresh.
    """

    __tablename__ = "client"

    #: Of an account id's characters.
    name: str = Field(primary_key=True, max_length=128)
    provider: str
    client_id: str | None = None
    client_secret_sealed: str | None = Field(default=None, sa_column=Column(Text, nullable=True))
    client_auth: str | None = None
    token_url: str | None = None
    #: JSON list: where a Connect session may send a browser back to.
    return_urls: str = Field(default="[]", sa_type=Text)
    #: RFC 7591 `client_secret_expires_at`; None: the secret has no known end.
    secret_expires_at: float | None = Field(default=None, sa_type=Float)
    created_at: float = Field(default=0.0, sa_type=Float)
    changed_at: float = Field(default=0.0, sa_type=Float)
    #: Counts changes: one that was computed from an older row is refused.
    version: int = 1
    #: Accounts up to this id have taken over the last change; None: all have.
    wake_after: str | None = Field(default=None, max_length=128)
    #: `token_url` before that change: accounts that have it follow.
    token_url_before: str | None = None
    #: Which end of the secret was announced, and how many days before.
    announced_end: float | None = Field(default=None, sa_type=Float)
    announced_days: float | None = Field(default=None, sa_type=Float)
    #: Of a client of provider `issuer`: whose metadata say how and where its accounts are refreshed.
    issuer: str | None = Field(default=None, max_length=2048)

    @property
    def urls(self) -> list[str]:
        """Return the return URLs."""
        found: list[str] = json.loads(self.return_urls)
        return found

    @property
    def token_urls(self) -> list[str]:
        """Return where the client's secret may go by its own word: the URL before, too, while accounts still have it."""
        before = None if self.wake_after is None else self.token_url_before
        return [url for url in (self.token_url, before) if url is not None]


def write_urls(urls: Sequence[str]) -> str:
    """Return the text of the column `return_urls`."""
    return json.dumps(list(urls))
