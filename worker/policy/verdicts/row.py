"""A row of the verdict table: conditions, a verdict and a reason."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from msgspec import Struct, field

from models.answer import BodyKind, Fault, Verdict
from worker.policy.reasons.reason import Reason

ANY: Final[frozenset[str]] = frozenset()
SERVER_ERRORS: Final = frozenset(range(500, 600))
CLIENT_ERRORS: Final = frozenset(range(400, 500))
REDIRECTS: Final = frozenset(range(300, 400))
SUCCESSES: Final = frozenset(range(200, 300))
#: Statuses of a refusal that passes: no words beside them end a grant.
PASSING: Final = frozenset({408, 409, 423, 425, 429})
#: Statuses beside which a provider's words count: a refusal, or a success that is none.
REFUSALS: Final = CLIENT_ERRORS - PASSING | SUCCESSES

#: Places where a phrase may stand: the error code, its description; any other word is a path in the body.
ERROR: Final = "error"
DESCRIPTION: Final = "error_description"
#: Where providers put a sentence, most frequent first (`detail` and `title`: RFC 9457, `reason`: Zoom, `hint`:
#: league/oauth2-server). A body that is plain text stands at the description's place.
SENTENCES: Final = (
    ERROR,
    DESCRIPTION,
    "message",
    "detail",
    "reason",
    "hint",
    "error_message",
    "title",
    "msg",
)

_WORD: Final = re.compile(r"[^\W_]+")
#: Longest sentence that is compared; a longer text is a page.
_SENTENCE_MAX: Final = 2000


class Example(Struct, frozen=True):
    """An answer of a real provider, reduced: the test of its phrase."""

    status: int
    body: Mapping[str, Any]


class Phrase(Struct, frozen=True, kw_only=True):
    """Consecutive words in one sentence of an answer.

    Case, punctuation and underscores do not count: `refresh_token is invalid` and "Refresh token is invalid!" are
    the same words. Parts of words do not match.
    """

    words: str
    #: Where the phrase was seen, or its documentation.
    source: str
    example: Example
    where: tuple[str, ...] = SENTENCES
    #: Words that give the sentence another meaning.
    without: frozenset[str] = ANY
    #: Match only a sentence of these words alone.
    whole: bool = False

    def stands_in(self, sentence: str) -> bool:
        """Return whether a sentence (a result of `words_of_sentence`) holds the phrase."""
        if self.whole:
            return sentence == f" {self.words} "
        return f" {self.words} " in sentence and not any(f" {word} " in sentence for word in self.without)


class Row(Struct, frozen=True, kw_only=True):
    """One row of the table. Every condition that is set must hold; a row without conditions always matches."""

    verdict: Verdict
    reason: Reason
    #: A narrower sentence than the reason's own, for the page about verdicts.
    words: str = ""
    fault: Fault | None = None
    #: The error code, as `code_of` returns it.
    errors: frozenset[str] = ANY
    #: A finer code beside it: Microsoft's `suberror`, Google's `error_subtype`.
    suberrors: frozenset[str] = ANY
    #: One of these stands in the provider's sentences.
    phrases: tuple[Phrase, ...] = field(default=())
    #: Any error code at all.
    has_error: bool = False
    statuses: frozenset[int] = frozenset()
    has_retry_after: bool = False
    body_kinds: frozenset[BodyKind] = frozenset()
    #: The account refreshed before with the configuration that it has now.
    refreshed_before: bool = False

    @property
    def message(self) -> str:
        """Return the meaning of such an answer in a sentence."""
        return self.words or self.reason.message


def codes(*names: str) -> frozenset[str]:
    """Return error codes as a condition."""
    return frozenset(names)


def words_of_sentence(text: str) -> str:
    """Return the words of a text, lower case, one blank before and behind each."""
    return f" {' '.join(_WORD.findall(text[:_SENTENCE_MAX].casefold()))} "
