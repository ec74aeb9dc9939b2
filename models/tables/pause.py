"""A pause: a person stopped planned refreshes of everything, of a provider or of an account."""

from __future__ import annotations

from sqlalchemy import Float
from sqlmodel import Field, SQLModel


class Pause(SQLModel, table=True):
    """One row of `pause`. Times are epoch seconds (UTC) of the database's clock.

    A pause whose `until` has come is over, and its row stays until the planner has brought its accounts back.
    """

    __tablename__ = "pause"

    scope: str = Field(primary_key=True)
    #: The provider's name, the account's id or NAME=VALUE of a label; empty for everything.
    name: str = Field(primary_key=True, max_length=128)
    paused_at: float = Field(sa_type=Float)
    until: float | None = Field(default=None, sa_type=Float)
    actor: str
    host: str
    reason: str = ""
    #: A person ended it, before its time was over.
    resumed: bool = False


class LabelPause(SQLModel, table=True):
    """One row of `label_pause`: a pause of the accounts that have a label. Times are as in `pause`.

    It has a table of its own, so that a planner of a release before it goes on.
    """

    __tablename__ = "label_pause"

    name: str = Field(primary_key=True, max_length=128)
    value: str = Field(primary_key=True, max_length=128)
    paused_at: float = Field(sa_type=Float)
    until: float | None = Field(default=None, sa_type=Float)
    actor: str
    host: str
    reason: str = ""
    #: A person ended it, before its time was over.
    resumed: bool = False
