"""The page `docs/verdicts.md`, generated from the table: `python -m worker.policy.verdict_page > docs/verdicts.md`."""

from __future__ import annotations

import sys
from typing import Final

from worker.policy.verdict_table import CODES, EXCEPTIONS, FAULTS, STATUSES, Row

_HEAD: Final = """\
# Verdicts

What every answer of a provider means, and the reason that the log, the account, the event and the history
give for it. This page is generated from `worker/policy/verdict_table.py`.

An answer is compared from top to bottom, and the first line that fits counts:

1. A body that holds a usable access token is `refreshed`, whatever else is in it and whatever the status is.
2. The provider's own `error_rules` (see [providers](providers.md)).
3. The tables below. An error code in the body wins over the status.

| verdict | what follows |
|---|---|
| `refreshed` | The tokens are stored, then published. |
| `retry` | Another try later, with growing intervals; the account is `active` until its token ends, then `degraded`; without a token it is `degraded` at once. |
| `rate_limited` | The provider is left alone for as long as it asks; the account's own failures are not counted. |
| `reauthorize` | The account needs its owner's consent again; it leaves the plan until new credentials are stored. |
| `misconfigured` | The account or its client needs a correction; it is tried slowly, and at once when that comes. |

"The refresh token may be spent" means that the provider may have taken the request although no answer was
read. It is tried again all the same; where the provider documents a replay grace, at once.
"""

_SECTIONS: Final = (
    ("No answer", FAULTS),
    ("Codes that mean two things", EXCEPTIONS),
    ("Error codes", CODES),
    ("Everything else, by status", STATUSES),
)


def page() -> str:
    """Give the page as Markdown."""
    return _HEAD + "".join(f"\n## {title}\n\n{_table(rows)}" for title, rows in _SECTIONS)


def _table(rows: tuple[Row, ...]) -> str:
    lines = ["| answer | verdict | reason | in words |", "|---|---|---|---|"]
    lines += [f"| {_signs(row)} | `{row.verdict}` | `{row.reason}` | {row.words} |" for row in rows]
    return "\n".join(lines) + "\n"


def _signs(row: Row) -> str:
    signs = []
    if row.fault is not None:
        signs.append(f"`{row.fault}`")
    if row.errors:
        signs.append(_codes(row.errors))
    if row.suberrors:
        signs.append("suberror " + _codes(row.suberrors))
    if row.text:
        signs.append(f'the text "{row.text}"')
    if row.has_error:
        signs.append("an error code")
    if row.statuses:
        signs.append(_statuses(row.statuses))
    if row.has_retry_after:
        signs.append("Retry-After")
    if row.body_kind is not None:
        signs.append(f"a body of {row.body_kind.upper()}")
    return " and ".join(signs) or "anything else"


def _codes(codes: frozenset[str]) -> str:
    return ", ".join(f"`{code}`" for code in sorted(codes))


def _statuses(statuses: frozenset[int]) -> str:
    hundreds = {status // 100 for status in statuses}
    if len(statuses) == 100 and len(hundreds) == 1:  # noqa: PLR2004 -- a whole class of statuses
        return f"{hundreds.pop()}xx"
    return ", ".join(str(status) for status in sorted(statuses))


if __name__ == "__main__":
    sys.stdout.write(page())
