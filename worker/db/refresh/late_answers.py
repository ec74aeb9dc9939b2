"""The SQL of answers that were kept beside their rows: whether their grant is still the account's."""

from __future__ import annotations

from sqlalchemy import Engine, text

from models.act import Action
from worker.db.engine import reading, writing


class LateAnswers:
    """Answers that lost the race for their generation."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def granted_since(self, account_id: str, at: float) -> bool:
        """Return whether the account was given a new grant at this moment (epoch seconds) or later."""
        with reading(self._engine) as connection:
            found = connection.execute(
                text("SELECT 1 FROM audit WHERE account_id = :id AND at >= :at AND action = :action LIMIT 1"),
                {"id": account_id, "at": at, "action": Action.GRANT.value},
            )
            return found.first() is not None

    def forget(self, account_id: str, sealed_answer: str) -> None:
        """Delete this answer from beside its row. Another that came meanwhile stays."""
        with writing(self._engine) as connection:
            connection.execute(
                text("UPDATE account SET kept_sealed = NULL WHERE id = :id AND kept_sealed = :sealed"),
                {"id": account_id, "sealed": sealed_answer},
            )
