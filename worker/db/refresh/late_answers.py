"""The SQL of answers that were kept beside their rows: whether their grant is still the account's."""

from __future__ import annotations

import json
from typing import Final

from sqlalchemy import Engine, text

from models.act import Action
from worker.db.engine import reading, writing

#: Entries are looked at from so long before the attempt: a statement that waited has the time at which it began.
GUARD_S: Final = 60.0


class LateAnswers:
    """Answers that lost the race for their generation."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def granted_above(self, account_id: str, generation: int, *, since: float) -> bool:
        """Return whether the account was given a new grant above this generation, as the audit trail has it.

        Args:
            account_id: the account.
            generation: the one that the answer's attempt was opened at.
            since: when that was, epoch seconds.
        """
        return any(granted > generation for granted in self._granted(account_id, since - GUARD_S))

    def granted_since(self, account_id: str, since: float) -> bool:
        """Return whether the account was given a new grant at that time (epoch seconds) or later, at whatever generation.

        A database that lost commits gives generations again that were above it before.
        """
        return bool(self._granted(account_id, since))

    def _granted(self, account_id: str, since: float) -> list[int]:
        """Return the generations of the account's grants from that time on."""
        with reading(self._engine) as connection:
            found = connection.execute(
                text("SELECT detail FROM audit WHERE account_id = :id AND at >= :since AND action = :action"),
                {"id": account_id, "since": since, "action": Action.GRANT.value},
            )
            return [json.loads(detail).get("generation", 0) for (detail,) in found]

    def forget(self, account_id: str, sealed_answer: str) -> None:
        """Delete this answer from beside its row. Another that came meanwhile stays."""
        with writing(self._engine) as connection:
            connection.execute(
                text("UPDATE account SET kept_sealed = NULL WHERE id = :id AND kept_sealed = :sealed"),
                {"id": account_id, "sealed": sealed_answer},
            )
