"""Findings about a callback that does not refresh an account. Pure; `rules/__init__.py` orders them."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import SequenceMatcher, get_close_matches
from itertools import takewhile
from typing import TYPE_CHECKING, Final

from models.account_state import RefreshMethod, SessionManagement
from models.outcome import OWN_LINE, SAME_ACCESS_TOKEN, Outcome
from worker.broker.queues import CALLBACK
from worker.diagnostics.explain.facts import Facts, Finding
from worker.diagnostics.explain.rules.provider import last_call
from worker.durations import duration
from worker.policy.reasons import message_of
from worker.policy.reasons.correction import CALLBACK_UNKNOWN
from worker.policy.reasons.passing import CALLBACK_FAILED, TIMED_OUT

if TYPE_CHECKING:  # tables bring the ORM, which reading an account has no use for
    from models.tables.attempt import Attempt

#: So many known callbacks, and so many unusable ones, are named.
_LISTED_MAX: Final = 20
_BROKEN_MAX: Final = 2
#: The line of a run's output for that.
_SAME: Final = f"\n{OWN_LINE}{SAME_ACCESS_TOKEN}"
_FAILED: Final[dict[str, str]] = {CALLBACK_FAILED: "callback_failing", TIMED_OUT: "callback_hanging"}


def callback_says(facts: Facts) -> Iterator[Finding]:
    """Return which workers know the callback, and how its last run ended."""
    account = facts.account
    if account.callback is None:
        return
    if account.refresh_method != RefreshMethod.CALLBACK:
        yield _not_used(facts, account.callback)
        return
    takers = {worker for worker, queues in (facts.workers or {}).items() if CALLBACK in queues}
    having = {worker for worker, names in facts.callbacks.items() if account.callback in names}
    if facts.redis is None:
        pass  # no worker could be asked
    elif not having and (takers or facts.callbacks or facts.workers is None):
        yield _not_registered(facts, account.callback)
    elif lacking := sorted(takers - having):
        fails = "what they take" if takers & having else "everything of it"
        gone = (
            " (which does not answer: it was killed, or is cut off)"
            if facts.workers is not None and not having & set(facts.workers)
            else ""
        )
        yield Finding(
            "callback_registered_elsewhere",
            f"The callback {account.callback!r} is known to {', '.join(sorted(having))} only{gone}, but {', '.join(lacking)} "
            f"{'takes' if len(lacking) == 1 else 'take'} from `{CALLBACK}`, too: {fails} fails.",
            "Give every callback worker the same REFRESHD_CALLBACK_MODULES (and REFRESHD_CALLBACKS_FILE), and restart "
            "them.",
        )
    last = last_call(facts.attempts)
    if last is not None and last.reason in _FAILED:
        yield _failing(facts, last, account.callback)
    elif times := _times_the_same(facts):
        yield _same_token(account.id, account.callback, times)
    elif (
        account.session_management == SessionManagement.AUTO
        and account.access_token_sealed is not None
        and account.expires_at is None
    ):
        yield Finding(
            "lifetime_unknown",
            f"Nobody knows when its tokens end: the callback returned no `expires_in`, so that each is kept for "
            f"{account.session_timeout_s:.0f} s (`session_timeout_s`). Readers see 401 or 403 where one ends earlier.",
            "Return `expires_in` from the callback, or "
            f"`refreshd accounts edit {account.id} session_timeout_s=SECONDS`, shorter than the tokens live.",
            wrong=False,
        )


def _times_the_same(facts: Facts) -> int:
    """Count the latest runs, one after the other, that brought the access token which the account had."""
    brought = (one for one in facts.attempts if one.outcome == Outcome.REFRESHED)
    return sum(1 for _ in takewhile(lambda one: _SAME in f"\n{one.output}", brought))


def _same_token(account_id: str, name: str, times: int) -> Finding:
    row = f", {times} times in a row" if times > 1 else ""
    return Finding(
        "callback_returns_the_same_token",
        f"The callback {name!r} returned the access token that the account already had{row}: it runs, and renews "
        "nothing. Readers see 401 or 403 when that token ends, whatever `expires_in` was returned with it.",
        f"`refreshd callbacks test {name} --account {account_id}` shows what it returns. Is it its input, or what its "
        "module or SDK keeps in a variable? A provider that itself gives the same token until that ends: return what is "
        "left as `expires_in`, and have it refreshed later (`margin_s`).",
        wrong=times > 1,
    )


def _not_used(facts: Facts, name: str) -> Finding:
    account = facts.account
    return Finding(
        "callback_not_used",
        f"The account names the callback {name!r}, but its refresh method is `{account.refresh_method}`: the standard "
        "request is sent, and the callback never runs.",
        f"`refreshd callbacks test {name} --account {account.id}`, then "
        f"`refreshd accounts edit {account.id} refresh_method=callback`.",
        wrong=facts.is_wanting,
    )


def _not_registered(facts: Facts, name: str) -> Finding:
    known = sorted({one for names in facts.callbacks.values() for one in names})
    near = get_close_matches(name, known, 1)
    hint = f" The nearest is {near[0]!r}." if near else ""
    broken = _broken(facts, name)
    if not facts.callbacks:
        takers = ", ".join(worker for worker, queues in (facts.workers or {}).items() if CALLBACK in queues)
        where = f" under the prefix `{facts.redis.prefix}`" if facts.redis else ""
        they = (
            f" {takers or 'The callback workers'} said nothing{where}: a worker that has just started still imports its "
            "modules, and one with another REFRESHD_REDIS_PREFIX says it elsewhere."
        )
    else:
        more = ", ..." if len(known) > _LISTED_MAX else ""
        they = f" They know: {', '.join(known[:_LISTED_MAX]) or 'none'}{more}."
    elsewhere = (
        "Mend that module: a file that changes is read again by itself, after anything else restart the callback worker."
        if broken
        else "List its module in REFRESHD_CALLBACK_MODULES of the callback worker and restart that; "
        "`refreshd callbacks list` shows who knows what."
    )
    spelling = (
        f"If {near[0]!r} is meant: `refreshd accounts edit {facts.account.id} callback={near[0]}`. "
        if near
        else ""
    )
    return Finding(
        "callback_not_registered",
        f"No running worker knows a callback {name!r}, so it {_runs(facts)}.{hint}{broken}{they}",
        f"{spelling}{elsewhere}",
    )


def _runs(facts: Facts) -> str:
    """Return whether it ever ran: a worker that did run it may have been killed a moment ago."""
    last = last_call(facts.attempts)
    if last is None or last.reason == CALLBACK_UNKNOWN:
        return "never runs"
    answers = last.worker in (facts.workers or {})
    by = (
        ""
        if not last.worker
        else f", on {last.worker}, which {'knows it no more' if answers else 'does not answer now'}"
    )
    return f"does not run any more: it ran {duration(facts.now - last.opened_at)} ago{by}"


def _broken(facts: Facts, name: str) -> str:
    """Return what could not be used, what is named most like the callback first."""
    wheres = sorted(facts.callback_problems, key=lambda one: (-SequenceMatcher(None, name, one).ratio(), one))
    told = "".join(
        f" {where} could not be used: {facts.callback_problems[where].rstrip('.')}."
        for where in wheres[:_BROKEN_MAX]
    )
    left = len(wheres) - _BROKEN_MAX
    return f"{told} Nor could {left} more (`refreshd callbacks list`)." if left > 0 else told


def _failing(facts: Facts, last: Attempt, name: str) -> Finding:
    times = f" {facts.account.failures} times in a row" if facts.account.failures > 1 else ""
    detail = last.error_description or message_of(last.reason or "")
    hangs = last.reason == TIMED_OUT
    return Finding(
        _FAILED[last.reason or ""],
        f"The callback {name!r} {'does not come to an end' if hangs else 'ran and failed'}{times}: {detail}",
        f"`refreshd callbacks test {name} --account {facts.account.id}` runs it as in production and shows its output."
        + (" Give its own calls a timeout (httpx: `timeout=10`)." if hangs else ""),
    )
