"""The SQL of plots: when refreshes are due, when tokens end, and what came of the last hour's calls.

Each statement walks ranges of one index. A busy hour has a million attempts, whose outcomes are in no index: of each
minute the first `SAMPLE` are read, and their shares stand for the rest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

from msgspec import Struct
from sqlalchemy import Connection, Engine, text

from models.answer import Verdict
from models.tables.attempt import Outcome, Trigger
from worker.db.engine import database_now, reading

HOURS: Final = 24
HOUR_S: Final = 3600
#: The last hour, in so many slices: five minutes each.
SLICES: Final = 12
SLICE_S: Final = HOUR_S // SLICES
MINUTE_S: Final = 60
#: Attempts of a minute that are read, so that a million an hour cost no more than 12,000 rows. Up to 3 a second, it is all.
SAMPLE: Final = 200
#: Ends of the ranges in which tokens are counted, seconds from now; the first has ended, the last is open.
TOKEN_ENDS_S: Final = (0, 60, 300, 900, 3600, 21_600, 86_400)
FAILURES: Final = frozenset({Outcome.RETRY, Outcome.RATE_LIMITED, Outcome.REAUTHORIZE, Outcome.MISCONFIGURED})
#: The provider of attempts whose account is there no more.
_REMOVED: Final = "removed accounts"
_CALLS: Final = frozenset(verdict.value for verdict in Verdict)

_DUE: Final = """
SELECT {nth}, (SELECT count(*) FROM account
WHERE next_refresh_at > :now + {start_s} AND next_refresh_at <= :now + {end_s})
"""
_ENDS: Final = "SELECT {nth}, (SELECT count(*) FROM account WHERE {where})"
_OUTCOMES: Final = """
SELECT {nth}, trigger, outcome, opened_at, (SELECT provider FROM account WHERE account.id = seen.account_id) {late}
FROM (SELECT account_id, trigger, outcome, opened_at FROM attempt
WHERE opened_at > :now - {end_s} AND opened_at <= :now - {start_s} ORDER BY opened_at LIMIT {sample}) AS seen
"""
_ATTEMPTS: Final = """
SELECT {nth}, (SELECT count(*) FROM attempt WHERE opened_at > :now - {end_s} AND opened_at <= :now - {start_s})
"""
#: When the account was due, as the attempt before had it.
_DUE_BEFORE: Final = """
, (SELECT earlier.next_refresh_at FROM attempt AS earlier WHERE earlier.account_id = seen.account_id
 AND earlier.opened_at < seen.opened_at ORDER BY earlier.opened_at DESC LIMIT 1)
"""


class Calls(Struct, frozen=True):
    """Calls of five minutes, by (provider, outcome), and how late planned ones were, seconds, in order."""

    by_outcome: Mapping[tuple[str, str], int]
    late_s: Sequence[float] = ()

    @property
    def refreshed(self) -> int:
        return sum(number for (_, outcome), number in self.by_outcome.items() if outcome not in FAILURES)

    @property
    def failed(self) -> int:
        return sum(number for (_, outcome), number in self.by_outcome.items() if outcome in FAILURES)

    def late_at(self, share: float) -> float | None:
        """Return the lateness that a share of them stays below; None where nothing was planned."""
        if not self.late_s:
            return None
        return self.late_s[min(int(share * len(self.late_s)), len(self.late_s) - 1)]


class Timeline(Struct, frozen=True):
    """What a plot shows. `now` is epoch seconds of the database's clock."""

    now: float
    #: Accounts that come due, hour by hour from now.
    due: Sequence[int]
    #: The last hour's calls, five minutes each, the oldest first.
    calls: Sequence[Calls]
    #: Outcomes are estimates: more attempts were made than were read.
    sampled: bool

    def by_provider(self) -> dict[str, tuple[int, int]]:
        """Return each provider's calls that succeeded and that failed in the last hour, most calls first."""
        done: Counter[str] = Counter()
        failed: Counter[str] = Counter()
        for one in self.calls:
            for (provider, outcome), number in one.by_outcome.items():
                (failed if outcome in FAILURES else done)[provider] += number
        names = sorted({*done, *failed}, key=lambda name: (-done[name] - failed[name], name))
        return {name: (done[name], failed[name]) for name in names}


def timeline(engine: Engine, *, lateness: bool = False) -> Timeline:
    """Return the next day's due times and the last hour's outcomes.

    Args:
        engine: the database.
        lateness: look up when each planned attempt was due, too.

    Raises:
        DatabaseUnreachable: the database does not answer.
    """
    with reading(engine) as connection:
        now = database_now(connection)
        due = _numbers(connection, now, [_DUE.format(**_range(nth, HOUR_S)) for nth in range(HOURS)])
        calls, sampled = _last_hour(connection, now, lateness=lateness)
    return Timeline(now, due, calls, sampled)


def token_ends(engine: Engine) -> list[int]:
    """Return how many tokens end within each range of `TOKEN_ENDS_S`, those that have ended first."""
    ends = ["expires_at <= :now"]
    for start_s, end_s in pairwise(TOKEN_ENDS_S):
        ends.append(f"expires_at > :now + {start_s} AND expires_at <= :now + {end_s}")
    ends.append(f"expires_at > :now + {TOKEN_ENDS_S[-1]}")
    with reading(engine) as connection:
        statements = [_ENDS.format(nth=nth, where=where) for nth, where in enumerate(ends)]
        return _numbers(connection, database_now(connection), statements)


def _last_hour(connection: Connection, now: float, *, lateness: bool) -> tuple[list[Calls], bool]:
    """Return the calls of each slice, and whether they are estimates."""
    minutes = [{**_range(nth, MINUTE_S), "nth": nth, "sample": SAMPLE} for nth in range(HOUR_S // MINUTE_S)]
    late = _DUE_BEFORE if lateness else ", NULL"
    read: list[list[Any]] = [[] for _ in minutes]
    for row in _rows(connection, now, [_OUTCOMES.format(**one, late=late) for one in minutes]):
        read[int(row[0])].append(row)
    totals = [len(rows) for rows in read]
    sampled = max(totals) >= SAMPLE
    if sampled:
        totals = _numbers(connection, now, [_ATTEMPTS.format(**one) for one in minutes])
    width = SLICE_S // MINUTE_S
    slices = [slice(at, at + width) for at in range(0, len(minutes), width)]
    calls = [_calls(list(zip(read[one], totals[one], strict=True))) for one in slices]
    return calls[::-1], sampled  # the first minute is the one that ends now


def _calls(minutes: Sequence[tuple[Sequence[Any], int]]) -> Calls:
    """Return what came of attempts; where only some of a minute were read, they stand for all of it."""
    counts: dict[tuple[str, str], float] = {}
    late: list[float] = []
    for rows, total in minutes:
        for _, trigger, outcome, opened_at, provider, due_at in rows:
            if outcome not in _CALLS:
                continue  # under way, or no call was made
            key = (str(provider or _REMOVED), str(outcome))
            counts[key] = counts.get(key, 0.0) + total / len(rows)
            if trigger == Trigger.PLANNED and due_at is not None:
                late.append(max(float(opened_at) - float(due_at), 0.0))
    return Calls({key: round(number) for key, number in counts.items()}, tuple(sorted(late)))


def _range(nth: int, width_s: int) -> dict[str, int]:
    return {"nth": nth, "start_s": nth * width_s, "end_s": (nth + 1) * width_s}


def _numbers(connection: Connection, now: float, statements: Sequence[str]) -> list[int]:
    found = {int(nth): int(number) for nth, number in _rows(connection, now, statements)}
    return [found[nth] for nth in range(len(statements))]


def _rows(connection: Connection, now: float, statements: Sequence[str]) -> Sequence[Any]:
    """Run them as one statement."""
    return connection.execute(
        text(" UNION ALL ".join(f"SELECT * FROM ({one}) AS part" for one in statements)), {"now": now}
    ).all()
