"""Findings about the token itself: there is none, or the imported one may be wrong. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from models.outcome import OWN_LINE, Outcome, Trigger
from worker.diagnostics.explain.facts import Facts, Finding
from worker.durations import duration
from worker.policy.reasons import message_of

if TYPE_CHECKING:  # tables bring the ORM, which reading an account has no use for
    from models.tables.attempt import Attempt

#: Lives that providers give their tokens, seconds. A thousand times one of them is no life, but milliseconds.
_USUAL_LIVES_S: Final = (
    300,
    600,
    900,
    1200,
    1800,
    3600,
    7200,
    10_800,
    14_400,
    21_600,
    28_800,
    43_200,
    86_400,
)
_MILLI: Final = 1000.0
#: How the history of a callback keeps what a run returned (`worker.callbacks.host.result.shown`).
_RETURNED_LIFE: Final = re.compile(
    rf"^{re.escape(OWN_LINE)}returned .*\bexpires_in ([0-9.]+)(?:,|$)", re.MULTILINE
)
#: Stored times are off by no more than this.
_SAME_S: Final = 1.0


def since_when(facts: Facts) -> str:
    """Return since when readers have no token; "" where they have one."""
    account = facts.account
    if not facts.lacks_token:
        return ""
    if account.access_token_sealed is None:
        added = f": it was added {duration(facts.now - account.created_at)} ago" if account.created_at else ""
        return f"Readers have no token: none was ever stored{added}."
    return f"Readers have no token: the last one ended {duration(facts.now - (account.expires_at or facts.now))} ago."


def no_token(facts: Facts) -> Finding:
    """Return what is missing, since when and why, where nothing else that is wrong says it."""
    account = facts.account
    return Finding(
        "no_token",
        f"{since_when(facts)} {_met(facts)} {next_try(facts)}",
        f"`refreshd refresh {account.id} --force --wait` tries now; `refreshd history {account.id}` shows what was tried.",
    )


def next_try(facts: Facts) -> str:
    """Return when the next try is due."""
    due_at = facts.account.next_refresh_at
    if due_at is None:
        return "No refresh is planned."
    if due_at <= facts.now:
        return f"A refresh has been due for {duration(facts.now - due_at)}."
    return f"The next try is due in {duration(due_at - facts.now)}."


def _met(facts: Facts) -> str:
    """Return how the last try ended, also one that made no call."""
    last = _last_try(facts)
    if last is None:
        return "No refresh was tried yet."
    ago = duration(facts.now - (last.closed_at or last.opened_at))
    what = str(last.outcome).replace("_", " ")
    return f"The last try, {ago} ago, ended as `{what}`: {message_of(last.reason or '')}"


def _last_try(facts: Facts) -> Attempt | None:
    tried = (one for one in facts.attempts if one.closed_at is not None and one.trigger != Trigger.TEST)
    return next((one for one in tried if one.outcome != Outcome.REFRESHED), None)


def implausible_life(facts: Facts) -> Iterator[Finding]:
    """Return that an imported life looks as if it had been in milliseconds: the token ends long before it is due."""
    account = facts.account
    if not facts.was_imported or account.issued_at is None or account.expires_at is None:
        return
    life_s = account.expires_at - account.issued_at
    usual_s = next((s for s in _USUAL_LIVES_S if abs(life_s - s * _MILLI) <= _SAME_S), None)
    if usual_s is not None:
        yield Finding(
            "imported_life_implausible",
            f"Its token was imported with a life of {duration(life_s)}, a thousand times {duration(usual_s)}: `expires_in` was "
            "probably in milliseconds. The token ends, or has ended, long before it is due.",
            f"`refreshd refresh {account.id} --force --wait` gets a new one, with the life that the provider names; correct "
            "the file (`expires_in` is in seconds).",
        )


def shortest_life_s(facts: Facts) -> float | None:
    """Return the shortest life that is known of the account's tokens: the stored one's, and what its callback returned last.

    Of what a test brings nothing is stored but its entry in the history.
    """
    account = facts.account
    lives = [
        float(found[1])
        for one in facts.attempts
        if (found := _RETURNED_LIFE.search(one.output or "")) is not None
    ][:1]
    if account.issued_at and account.expires_at:
        lives.append(account.expires_at - account.issued_at)
    return min((life_s for life_s in lives if life_s > 0), default=None)


def is_untried(facts: Facts) -> bool:
    """Return whether a token that looks good may be dead all the same: it was given to refreshd, no refresh brought it.

    An older history may have been pruned; an account that was refreshed has a higher generation.
    """
    return (
        facts.account.generation <= 1 and facts.was_imported and not facts.lacks_token and not facts.attempts
    )


def untried(facts: Facts) -> Iterator[Finding]:
    """Return that nothing shows whether an imported token works, and what does."""
    if is_untried(facts):
        yield Finding(
            "token_untried",
            "Whether its token works is unknown: it is as it was given, and no refresh was tried. If the API refuses it, it "
            "may be dead already, and a refresh is what helps.",
            f"`refreshd refresh {facts.account.id} --force --wait` finds out.",
            wrong=False,
        )
