"""A pause: a person stopped planned refreshes of everything, of a provider or of an account."""

from __future__ import annotations

from enum import StrEnum

from sqlalchemy import Float
from sqlmodel import Field, SQLModel

from refreshd_reader.contract import PAUSED  # the reason of every refresh that a pause kept from being begun

__all__ = ["PAUSED", "LabelPause", "Pause", "Scope"]


class Scope(StrEnum):
    """What a pause holds."""

    ALL = "all"
    PROVIDER = "provider"
    LABEL = "label"
    ACCOUNT = "account"


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

    @property
    def what(self) -> str:
        """Return what it holds."""
        return "everything" if self.scope == Scope.ALL else f"{self.scope} {self.name}"

    @property
    def option(self) -> str:
        """Return the words that name it on a command line."""
        options = {
            Scope.ALL: "--all",
            Scope.PROVIDER: f"--provider {self.name}",
            Scope.LABEL: f"--label {self.name}",
        }
        return options.get(Scope(self.scope), self.name)


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

    def as_pause(self) -> Pause:
        """Return it as a pause of the scope `label`, whose name is NAME=VALUE."""
        return Pause(
            scope=Scope.LABEL.value,
            name=f"{self.name}={self.value}",
            **self.model_dump(exclude={"name", "value"}),
        )
