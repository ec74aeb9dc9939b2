"""A pause: a person stopped planned refreshes of everything, of a provider or of an account."""

from __future__ import annotations

from enum import StrEnum

from sqlalchemy import Float
from sqlmodel import Field, SQLModel

from refreshd_reader.contract import PAUSED  # the reason of every refresh that a pause kept from being begun

__all__ = ["PAUSED", "Pause", "Scope"]


class Scope(StrEnum):
    """What a pause holds."""

    ALL = "all"
    PROVIDER = "provider"
    ACCOUNT = "account"


class Pause(SQLModel, table=True):
    """One row of `pause`. Times are epoch seconds (UTC) of the database's clock.

    A pause whose `until` has come is over, and its row stays until the planner has brought its accounts back.
    """

    __tablename__ = "pause"

    scope: str = Field(primary_key=True)
    #: The provider's name or the account's id; empty for everything.
    name: str = Field(primary_key=True, max_length=128)
    paused_at: float = Field(sa_type=Float)
    until: float | None = Field(default=None, sa_type=Float)
    actor: str
    host: str
    reason: str = ""
    #: A person ended it, before its time was over.
    resumed: bool = False

    @property
    def what(self) -> str:
        """Return what it holds."""
        return "everything" if self.scope == Scope.ALL else f"{self.scope} {self.name}"

    @property
    def option(self) -> str:
        """Return the words that name it on a command line."""
        return {Scope.ALL: "--all", Scope.PROVIDER: f"--provider {self.name}"}.get(
            Scope(self.scope), self.name
        )
