"""Checks of tokens and clocks: accounts without a token, accounts overdue, clocks that are off."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from sqlalchemy import text

from worker.clock import TOLERATED_SKEW_S
from worker.context import AppContext
from worker.db.engine import reading
from worker.db.fleet.counts import OVERDUE_AFTER_S, overdue, without_token
from worker.db.publication.comparison import (
    CAUSES,
    DELETED,
    EVICTED,
    ROLLING,
    TAKEN_OVER,
    ComparisonStore,
    Loss,
)
from worker.diagnostics.doctor.result import CheckResult, Level, ok, warning
from worker.diagnostics.explain.rules.clock import SET_BACK_REMEDY, SYNCHRONIZE, is_far_off, off, words_of
from worker.durations import duration
from worker.policy.reasons import message_of
from worker.redis.clock_offsets import ClockOffsets

#: A loss is told for so long, seconds.
LOSS_NEWS_S: Final = 86_400.0
#: Accounts of a loss that are named.
NAMED_SHOWN: Final = 5
_WHO_DELETES: Final = "find out who deletes: `ACL LOG`, and docs/redis.md for users that may not"
LOSS_REMEDIES: Final = {
    TAKEN_OVER: "nothing to do for these; if it repeats, its log says which replica lagged, or why it restarts",
    EVICTED: "`CONFIG SET maxmemory-policy noeviction`, and more memory: it may evict locks and answers, too",
    DELETED: _WHO_DELETES,
    ROLLING: _WHO_DELETES,
}
_WHY_NOT: Final = "; each plan has published what Redis lacks: where that stays so, a worker's log says why (`not_published`)"
#: Groups of accounts listed one by one.
GROUPS_MAX: Final = 10


def check_tokens(here: AppContext) -> Iterator[CheckResult]:
    """Count the accounts without a good token, by status and reason, and the overdue ones."""
    lacking = without_token(here.engine)
    for status, reason, accounts in lacking[:GROUPS_MAX]:
        which = f" --reason {reason}" if reason else ""
        of = f"{status}: {reason}" if reason else f"{status}, ended"
        yield warning(
            "tokens",
            f"{_accounts(accounts)} without a good token ({of}){_in_words(reason)}",
            f"`refreshd accounts list --status {status}{which}` names them, `refreshd explain ACCOUNT` shows what each waits for",
        )
    if left := sum(accounts for *_, accounts in lacking[GROUPS_MAX:]):
        yield warning(
            "tokens",
            f"... and {_accounts(left)} without a good token, for other reasons",
            "`refreshd status` groups them",
        )
    late, oldest_s = overdue(here.engine)
    if late:
        yield warning(
            "due accounts",
            f"{_accounts(late)} due for more than {OVERDUE_AFTER_S:.0f} s and not refreshed yet, the oldest for {duration(oldest_s)}",
            "`refreshd accounts list --overdue` names them, `refreshd explain ACCOUNT` what one of them waits for",
        )


def check_clocks(here: AppContext) -> Iterator[CheckResult]:
    """Check the clocks of workers and beats, as each has reported its own."""
    for process, ahead_s in off(ClockOffsets(here.broker, here.settings.redis_prefix).all()).items():
        yield CheckResult(
            "clock",
            Level.FAILED if is_far_off(ahead_s) else Level.WARNING,
            words_of(process, ahead_s).rstrip("."),
            SYNCHRONIZE,
        )


def check_content(here: AppContext) -> Iterator[CheckResult]:
    """Report what the last comparison of Redis with SQL found missing, and when a whole one ended."""
    store, now = ComparisonStore(here.engine), here.clock.now()
    progress = store.state().progress
    loss, last = progress.loss, progress.last
    if loss is not None and now - loss.at < LOSS_NEWS_S:
        waiting = store.waiting(loss)
        yield warning(
            "redis content",
            f"{duration(now - loss.at)} ago, Redis lacked what was published of {_accounts(loss.accounts)} "
            f"({', '.join(loss.some[:NAMED_SHOWN])}{', ...' if loss.accounts > NAMED_SHOWN else ''}): {CAUSES[loss.why]}. "
            + _again(loss, waiting),
            LOSS_REMEDIES[loss.why] + (_WHY_NOT if waiting else ""),
        )
    elif last is not None:
        yield ok(
            "redis content",
            f"{_accounts(last.accounts)} compared {duration(now - last.ended_at)} ago, in {duration(last.took_s)}: "
            f"{last.missing:,} missing in Redis",
        )


def _again(loss: Loss, waiting: Sequence[str]) -> str:
    if waiting:
        return f"Redis lacks {waiting[0]} at this moment"
    return "It was published again" if loss.accounts <= len(loss.some) else "Those named were published again"


def check_set_back(here: AppContext) -> Iterator[CheckResult]:
    """Check that the database's clock has not been set back: rows written before lie in its future."""
    with reading(here.engine) as connection:
        latest = connection.execute(text("SELECT max(opened_at) FROM attempt")).scalar()
    future_s = (latest or 0.0) - here.clock.now()
    if future_s > TOLERATED_SKEW_S:
        yield warning(
            "clock",
            f"the latest attempt lies {duration(future_s)} in the future: the database's clock was set back by at least that",
            SET_BACK_REMEDY,
        )


def _accounts(number: int) -> str:
    return f"{number:,} {'account' if number == 1 else 'accounts'}"


def _in_words(reason: str) -> str:
    return f": {message_of(reason).rstrip('.')}" if reason else ""
