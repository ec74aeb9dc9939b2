"""Judge an answer: the provider's own rules first, then the verdict table from top to bottom."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from msgspec import Struct

from models.answer import Answer, Judgement, Verdict
from models.providers.error_rule import ErrorRule
from models.providers.json_path import lookup_path
from models.tables.account import RECONFIGURED, Account
from worker.policy.reasons import done
from worker.policy.verdicts.row import DESCRIPTION, ERROR, Phrase, Row, words_of_sentence
from worker.policy.verdicts.table import TABLE

REFRESHED: Final = Judgement(verdict=Verdict.REFRESHED, reason=done.REFRESHED)

#: Verdicts that honour Retry-After.
_WAITING: Final = frozenset({Verdict.RETRY, Verdict.RATE_LIMITED})
#: Fields with a finer error code.
_SUBERROR_FIELDS: Final = ("suberror", "error_subtype")


#: Separators within a code: `Invalid-Grant`, `Access Denied`.
_BETWEEN_WORDS: Final = re.compile(r"[\s-]+")
#: A code and its description in one text: `invalid_grant: refresh token expired`.
_CODE_AND_MORE: Final = re.compile(
    r"\s*(?:error\s*[:=]\s*)?([a-z]+(?:[ _-][a-z]+)*)\s*(?:[:;,]|\.(?:\s|:|\Z))", re.IGNORECASE
)
_KNOWN_CODES: Final = frozenset(code for row in TABLE for code in row.errors)


def judge(answer: Answer, rules: Sequence[ErrorRule], *, refreshed_before: bool = False) -> Judgement:
    """Return what an answer means for the account. Never raises.

    A usable token is a success whatever stands beside it: it is stored first. Then the provider's own rules
    count, then the error in the body and its words, then the status.

    Args:
        answer: what came back.
        rules: the provider's own.
        refreshed_before: the account's configuration is that of an earlier success.
    """
    if answer.token is not None:
        return REFRESHED
    for rule in rules:
        if answer.fault is None and rule.applies(answer):
            return _judgement(rule.verdict, rule.reason, answer)
    signs = _Signs.of(answer, refreshed_before=refreshed_before)
    row = next(row for row in TABLE if signs.match(row))
    return _judgement(row.verdict, row.reason, answer)


def refreshed_before(account: Account) -> bool:
    """Return whether the account refreshed before with its present configuration, by its row.

    A row without `succeeded_at` counts where it was never edited, and a refresh has replaced the token it began with.
    """
    if account.reason == RECONFIGURED:
        return False
    if getattr(account, "succeeded_at", None) is not None:
        return True
    return account.generation > 1 and account.config_version == 1


def code_of(answer: Answer) -> str:
    """Return an answer's error code: lower case, its words joined by underscores; empty where it has none.

    Of a code and its description in one text the code alone; where the code's own place is empty, a description
    that begins with a code that the table knows.
    """
    first = answer.error or answer.error_description or ""
    if whole := _CODE_AND_MORE.match(f"{first}:"):
        code = _as_code(whole.group(1))
        if code in _KNOWN_CODES:
            return code
    return _as_code(answer.error or "")


def _as_code(text: str) -> str:
    return _BETWEEN_WORDS.sub("_", text.strip().casefold())


def _judgement(verdict: Verdict, reason: str, answer: Answer) -> Judgement:
    wait_s = answer.retry_after_s if verdict in _WAITING else None
    return Judgement(verdict=verdict, reason=reason, retry_after_s=wait_s)


class _Signs(Struct, frozen=True):
    """The signs of an answer that rows are compared with."""

    answer: Answer
    error: str
    suberror: str
    refreshed_before: bool

    @classmethod
    def of(cls, answer: Answer, *, refreshed_before: bool) -> _Signs:
        return cls(answer, code_of(answer), _suberror(answer.fields), refreshed_before)

    def match(self, row: Row) -> bool:
        answer = self.answer
        return (
            row.fault is answer.fault
            and (not row.errors or self.error in row.errors)
            and (not row.suberrors or self.suberror in row.suberrors)
            and (not row.has_error or bool(self.error))
            and (not row.statuses or answer.status in row.statuses)
            and (not row.has_retry_after or answer.retry_after_s is not None)
            and (not row.body_kinds or answer.body_kind in row.body_kinds)
            and (not row.refreshed_before or self.refreshed_before)
            and (not row.phrases or any(map(self._holds, row.phrases)))
        )

    def _holds(self, phrase: Phrase) -> bool:
        return any(phrase.stands_in(self._sentence(place)) for place in phrase.where)

    def _sentence(self, place: str) -> str:
        """Return the words at a place."""
        if place == ERROR:
            found: object = self.answer.error
        elif place == DESCRIPTION:
            found = self.answer.error_description
        else:
            found = lookup_path(self.answer.fields, place)
        return words_of_sentence(str(found)) if isinstance(found, str | int) else ""


def _suberror(fields: Mapping[str, object]) -> str:
    found = next((fields[name] for name in _SUBERROR_FIELDS if fields.get(name)), "")
    return found.casefold() if isinstance(found, str) else ""
