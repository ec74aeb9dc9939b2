"""The page `docs/verdicts.md`, generated from the table: `python -m docs.generate.verdicts > docs/verdicts.md`."""

from __future__ import annotations

import json
import sys
from typing import Final

from worker.policy.verdicts.causes import CAUSES
from worker.policy.verdicts.dead_grants import DEAD_BY_WORDS
from worker.policy.verdicts.faults import FAULTS
from worker.policy.verdicts.row import DESCRIPTION, ERROR, SENTENCES, Phrase, Row
from worker.policy.verdicts.table import CODES, EXCEPTIONS, STATUSES, TABLE, VAGUE_CODES

_HEAD: Final = """\
# Verdicts

What every answer of a provider means, and the reason that the log, the account, the event and the history
give for it. This page is generated from `worker/policy/verdicts/table.py` and the files that it gathers.

An answer is compared from top to bottom, and the first line that fits counts:

1. A body that holds a usable access token is `refreshed`, whatever else is in it and whatever the status is.
2. The provider's own `error_rules` (see [providers](providers.md)).
3. The tables below. An error code in the body wins over the status; of a code and its description in one text
   (`invalid_grant: refresh token expired`) the code counts.

| verdict | what follows |
|---|---|
| `refreshed` | The tokens are stored, then published. |
| `retry` | Another try later, with growing intervals; the account is `active` until its token ends, then `degraded`; without a token it is `degraded` at once. |
| `rate_limited` | The provider is left alone for as long as it asks; the account's own failures are not counted. |
| `reauthorize` | The account needs its owner's consent again; it leaves the plan until new credentials are stored. Where a second try costs nothing (below), it is made first. |
| `misconfigured` | The account or its client needs a correction; it is tried slowly, and at once when that comes. |

**A second try.** One refusal amid good answers was seen at grants that were alive. Where the same refresh token may be
sent again without harm (`rotates: false`, `replay_grace_s`, `replay_until_used`, or a grant that sends none), the account
stays `active` or `degraded` with the reason `refusal_to_be_confirmed`, and is tried once more after a minute, or after half
of a shorter `replay_grace_s`. The second refusal counts. Elsewhere the first does: a second try might end what lives.

**Probably dead.** Some servers answer 5xx where they, or one behind them, refused the grant. After five tries with words
that say so (`refused_behind_a_failure`), or ten with nothing but an error code (`server_error`), and with the token
ended, the account is `degraded` with the reason `grant_probably_dead`, which is an event; it is tried on.

"Refreshed before" means that the account has had a token with the configuration that it has now: a page from a
firewall, or one about maintenance, does not make that wrong.

"The refresh token may be spent" means that the provider may have taken the request although no answer was
read. It is tried again all the same; where the provider documents a replay grace, at once.
"""

#: A class of statuses is named with what it lacks, where that is so few.
_ABSENT_MAX: Final = 10

_SECTIONS: Final = (
    ("No answer", FAULTS),
    ("Codes that mean two things", EXCEPTIONS),
    ("Error codes", CODES),
    ("Words beside a code that says little, or none", DEAD_BY_WORDS),
    ("Codes that say little", VAGUE_CODES),
    ("Everything else, by status", STATUSES),
)


_PHRASES: Final = """
## Phrases

Words of a provider, one behind the other in one sentence; case, punctuation and underscores do not count. A phrase may
stand in the error code, its description, or {places}, unless its line says where. Each answer below was
seen, and is the phrase's test.

| phrase | reason | where | not beside | an answer | source |
|---|---|---|---|---|---|
""".format(places=", ".join(f"`{place}`" for place in SENTENCES if place not in {ERROR, DESCRIPTION}))


_CAUSES: Final = """
## Why, in the provider's words

These change no verdict. `explain` goes by them where it says why a grant or a client was refused; the first that stands in
the error or its description counts.

| phrase | then | an answer | source |
|---|---|---|---|
"""


def page() -> str:
    """Return the page as Markdown."""
    return (
        _HEAD
        + "".join(f"\n## {title}\n\n{_table(rows)}" for title, rows in _SECTIONS)
        + _PHRASES
        + _phrases()
        + _CAUSES
        + _causes()
    )


def _table(rows: tuple[Row, ...]) -> str:
    lines = ["| answer | verdict | reason | in words |", "|---|---|---|---|"]
    lines += [f"| {_signs(row)} | `{row.verdict}` | `{row.reason}` | {row.message} |" for row in rows]
    return "\n".join(lines) + "\n"


def _phrases() -> str:
    return "".join(
        f"| {_quoted(phrase)} | `{row.reason}` | {_places(phrase)} | {', '.join(sorted(phrase.without))} | "
        f"{phrase.example.status} `{json.dumps(dict(phrase.example.body))}` | {phrase.source} |\n"
        for row in TABLE
        for phrase in row.phrases
    )


def _causes() -> str:
    return "".join(
        f"| {_quoted(phrase)} | {row.words} | {phrase.example.status} `{json.dumps(dict(phrase.example.body))}` | "
        f"{phrase.source} |\n"
        for row in CAUSES
        for phrase in row.phrases
    )


def _quoted(phrase: Phrase) -> str:
    return f'"{phrase.words}"' + (" and nothing else" if phrase.whole else "")


def _places(phrase: Phrase) -> str:
    return "" if phrase.where == SENTENCES else ", ".join(f"`{place}`" for place in phrase.where)


def _signs(row: Row) -> str:
    signs = []
    if row.fault is not None:
        signs.append(f"`{row.fault}`")
    if row.errors:
        signs.append(_codes(row.errors))
    if row.suberrors:
        signs.append("suberror " + _codes(row.suberrors))
    if row.phrases:
        signs.append("the words " + " or ".join(dict.fromkeys(map(_quoted, row.phrases))))
    if row.has_error:
        signs.append("an error code")
    if row.statuses:
        signs.append(_statuses(row.statuses))
    if row.has_retry_after:
        signs.append("Retry-After")
    if row.body_kinds:
        signs.append(f"a body of {' or '.join(sorted(kind.upper() for kind in row.body_kinds))}")
    if row.refreshed_before:
        signs.append("refreshed before")
    return " and ".join(signs) or "anything else"


def _codes(codes: frozenset[str]) -> str:
    return ", ".join(f"`{code}`" for code in sorted(codes))


def _statuses(statuses: frozenset[int]) -> str:
    """Return statuses, classes of a hundred in short: `2xx, 4xx but not 408, 429`."""
    named: list[str] = []
    absent: list[int] = []
    for hundred in sorted({status // 100 for status in statuses}):
        whole = set(range(hundred * 100, hundred * 100 + 100))
        missing = whole - statuses
        if len(missing) > _ABSENT_MAX:
            named += [str(status) for status in sorted(statuses & whole)]
        else:
            named.append(f"{hundred}xx")
            absent += sorted(missing)
    but = f" but not {', '.join(map(str, absent))}" if absent else ""
    return ", ".join(named) + but


if __name__ == "__main__":
    sys.stdout.write(page())
