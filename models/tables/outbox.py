"""What is to be told to webhooks: happenings that wait, messages on their way, and what was told already."""

from __future__ import annotations

from sqlalchemy import Column, Float, Index, Text
from sqlmodel import Field, SQLModel

from models.label import NO_LABELS


class OutboxEvent(SQLModel, table=True):
    """One row of `outbox`: something that happened to an account, a client or a provider, not yet made a message.

    It is written in the transaction that changed the account's status, so neither is there without the other.
    """

    __tablename__ = "outbox"
    __table_args__ = (Index("ix_outbox_topic", "type", "provider", "client"),)

    id: str = Field(primary_key=True)
    type: str
    #: None: it is about the whole client or provider.
    account: str | None = None
    provider: str
    #: "": it is about no client in particular.
    client: str = ""
    generation: int | None = None
    reason: str
    at: float = Field(sa_type=Float)
    #: When the refresh token has its hard end, where that is what is told.
    ends_at: float | None = Field(default=None, sa_type=Float)
    #: JSON object: the account's labels.
    labels: str = Field(default=NO_LABELS, sa_column=Column(Text, nullable=False, server_default=NO_LABELS))


class Message(SQLModel, table=True):
    """One row of `webhook`: one message on its way to one endpoint. It has the same `id` at every endpoint.

    Its indexes are in `models/tables/schema.py`.
    """

    __tablename__ = "webhook"

    #: `webhook-id`: sorts by time, and is the same however often the message is sent.
    id: str = Field(primary_key=True)
    #: The endpoint's name: its host and a fingerprint of its URL, which may hold a secret.
    endpoint: str = Field(primary_key=True)
    type: str
    #: What is folded together: type, provider, client.
    topic: str
    #: Whom it is about: messages of one subject are delivered in their order.
    subject: str
    body: str = Field(sa_column=Column(Text, nullable=False))
    #: How many happenings it tells of.
    happenings: int = 1
    created_at: float = Field(default=0.0, sa_type=Float)
    attempts: int = 0
    #: When it is sent (again). None: delivered, or dead-lettered.
    next_at: float | None = Field(default=None, sa_type=Float)
    delivered_at: float | None = Field(default=None, sa_type=Float)
    #: When it was dead-lettered.
    failed_at: float | None = Field(default=None, sa_type=Float)
    #: What the last attempt got.
    http_status: int | None = None
    error: str | None = None


class ToldOutage(SQLModel, table=True):
    """A provider that is down for everybody, or a client that its provider refuses, as it was told."""

    __tablename__ = "outage"

    #: The key of the breaker in Redis that is open.
    breaker: str = Field(primary_key=True)
    provider: str
    client: str = ""
    reason: str
    since: float = Field(sa_type=Float)
    told_at: float = Field(sa_type=Float)


class AnnouncedEnd(SQLModel, table=True):
    """Which end of a refresh token was announced, and how many days before."""

    __tablename__ = "announced_end"

    account: str = Field(primary_key=True, max_length=128)
    ends_at: float = Field(sa_type=Float)
    days: float = Field(sa_type=Float)
