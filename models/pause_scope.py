"""A pause in plain Python, without its table (`models/tables/pause.py`): what it holds, and the words for it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Scope(StrEnum):
    """What a pause holds."""

    ALL = "all"
    PROVIDER = "provider"
    LABEL = "label"
    ACCOUNT = "account"


@dataclass(kw_only=True)
class PauseEntry:
    """A pause: a row of `pause`, or of `label_pause` as one of the scope `label`."""

    scope: str
    #: The provider's name, the account's id or NAME=VALUE of a label; empty for everything.
    name: str
    paused_at: float
    until: float | None = None
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
