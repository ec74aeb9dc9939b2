"""What does an answer mean? One table, walked from top to bottom; a provider's own rules come before it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from models.answer import Answer, Judgement, Verdict
from models.error_rule import ErrorRule
from worker.policy.verdict_table import TABLE, Row

REFRESHED: Final = Judgement(verdict=Verdict.REFRESHED, reason="refreshed")

#: Verdicts that heed the provider's wish to be left alone.
_WAITING: Final = frozenset({Verdict.RETRY, Verdict.RATE_LIMITED})
#: Where a finer error code stands.
_SUBERROR_FIELDS: Final = ("suberror", "error_subtype")


def judge(answer: Answer, rules: Sequence[ErrorRule]) -> Judgement:
    """Say what an answer means for the account. Never raises.

    A usable token is a success whatever stands beside it: it is stored first. Then the provider's own rules
    count, then the error in the body, then the status.
    """
    if answer.token is not None:
        return REFRESHED
    for rule in rules:
        if answer.fault is None and rule.applies(answer):
            return _judgement(rule.verdict, rule.reason, answer)
    signs = _Signs.of(answer)
    row = next(row for row in TABLE if signs.match(row))
    return _judgement(row.verdict, row.reason, answer)


def _judgement(verdict: Verdict, reason: str, answer: Answer) -> Judgement:
    wait_s = answer.retry_after_s if verdict in _WAITING else None
    return Judgement(verdict=verdict, reason=reason, retry_after_s=wait_s)


@dataclass(frozen=True, slots=True)
class _Signs:
    """An answer as the table sees it."""

    answer: Answer
    error: str
    suberror: str
    text: str

    @classmethod
    def of(cls, answer: Answer) -> _Signs:
        error = (answer.error or "").strip().casefold()
        text = f"{error} {answer.error_description or ''}".casefold()
        return cls(answer, error, _suberror(answer.fields), text)

    def match(self, row: Row) -> bool:
        answer = self.answer
        return (
            row.fault is answer.fault
            and (not row.errors or self.error in row.errors)
            and (not row.suberrors or self.suberror in row.suberrors)
            and row.text in self.text
            and (not row.has_error or bool(self.error))
            and (not row.statuses or answer.status in row.statuses)
            and (not row.has_retry_after or answer.retry_after_s is not None)
            and (row.body_kind is None or row.body_kind is answer.body_kind)
        )


def _suberror(fields: Mapping[str, object]) -> str:
    found = next((fields[name] for name in _SUBERROR_FIELDS if fields.get(name)), "")
    return found.casefold() if isinstance(found, str) else ""
