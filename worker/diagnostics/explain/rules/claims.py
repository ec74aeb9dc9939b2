"""Findings about what holds an account: an open attempt, a lease, a pending answer. Pure; `rules/__init__.py` orders them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from models.outcome import Outcome, Trigger
from worker.diagnostics.explain.facts import Facts, Finding, RedisFacts
from worker.diagnostics.explain.rules.token import since_when
from worker.durations import duration

if TYPE_CHECKING:  # tables bring the ORM, which reading an account has no use for
    from models.tables.attempt import Attempt

#: A provider answers within a few seconds; a call that is open for longer is a finding.
_LONG_CALL_S: Final = 10.0


def claims(facts: Facts) -> Iterator[Finding]:
    account, redis = facts.account, facts.redis
    open_until = account.claim_until if account.claim_attempt else None
    if open_until is not None and open_until <= facts.now:
        yield Finding(
            "interrupted",
            f"An attempt was left open {duration(facts.now - open_until)} ago by a worker that is gone; its outcome is "
            "unknown.",
            f"The next plan replays it by itself; `refreshd refresh {account.id} --force --wait` does so now.",
        )
    elif open_until is not None and (worker := _gone_caller(facts)):
        yield Finding(
            "lease_of_a_dead_worker",
            f"A refresh was under way on {worker}, which does not answer: it was killed, or is cut off. Whether the "
            f"provider answered is unknown. Its hold on the account ends by itself in {duration(open_until - facts.now)}; "
            "the next plan replays the refresh then.",
            "Wait for its end. Nothing calls before: two calls with one refresh token can end the grant.",
        )
    elif open_until is not None and (facts.lacks_token or _is_old(facts)):
        yield _under_way(facts, open_until)
    elif redis and redis.lease_holder and open_until is None and (state := _silence(redis, facts)):
        host, process, *_ = [*redis.lease_holder.split("/"), "?"]
        yield Finding(
            "lease_of_a_dead_worker",
            f"The account's lease is held by process {process} on {host}, which {state}: it was killed, is cut off, or hangs. "
            f"It renewed the lease {duration(redis.lease_renewed_ago_s or 0)} ago, and has no call under way. The lease ends "
            f"by itself in {duration(redis.lease_s or 0)}; until then each refresh is `busy`.",
            f"Wait for its end; the next plan goes on. If process {process} on {host} still runs, its log says why: restart it.",
        )
    if redis and redis.stashed and not redis.stash_error and _was_tested(facts):
        readers = (
            "readers get none until then."
            if account.access_token_sealed is None
            else f"readers still have the token before (generation {account.generation}). If the provider ended that one "
            "when it gave the new one, they get 401 or 403 until then."
        )
        yield Finding(
            "answer_of_a_test_waits",
            f"`refreshd callbacks test` got new tokens, which wait, sealed, for the next refresh: {readers}",
            f"`refreshd refresh {account.id} --force --wait` stores and publishes the new one now.",
        )
    elif redis and redis.stashed:
        words = redis.stash_error or "it is stored as soon as the database takes it"
        yield Finding(
            "answer_in_stash",
            f"An answer of the provider waits, sealed, in Redis: {words}.",
            "Do not delete it: it may hold the only valid refresh token. "
            + (
                "Put its key back into REFRESHD_KEYS."
                if redis.stash_error
                else "`refreshd doctor` checks the database."
            ),
            wrong=redis.stash_error is not None,
        )


def _under_way(facts: Facts, open_until: float) -> Finding:
    """Return that a call is open, by whom, and when its hold ends: its worker may have come back under the same name."""
    opened = _open_attempt(facts)
    since = f" for {duration(facts.now - opened.opened_at)}" if opened else ""
    on = f" on {opened.worker}" if opened and opened.worker else ""
    if not _is_old(facts):
        return Finding(
            "refresh_under_way",
            f"A refresh has been under way{since}{on}. {since_when(facts)}".strip(),
            f"Wait for its answer; `refreshd history {facts.account.id}` has it within seconds.",
            wrong=facts.lacks_token,
        )
    return Finding(
        "refresh_under_way",
        f"A refresh has been under way{since}{on}. {since_when(facts)} Its hold on the account ends by itself in "
        f"{duration(open_until - facts.now)} at the latest: if that worker was killed and has come back under its name since, "
        "nobody waits for the answer, and the next plan after that replays the refresh.".replace("  ", " "),
        "Wait for its end. Nothing calls before: two calls with one refresh token can end the grant.",
        wrong=facts.lacks_token,
    )


def _is_old(facts: Facts) -> bool:
    """Return whether the open call has taken longer than most do: its worker may be gone."""
    opened = _open_attempt(facts)
    return opened is not None and facts.now - opened.opened_at > _LONG_CALL_S


def _open_attempt(facts: Facts) -> Attempt | None:
    return next((one for one in facts.attempts if one.id == facts.account.claim_attempt), None)


def _was_tested(facts: Facts) -> bool:
    """Return whether the latest token came of a test, which stores nothing."""
    latest = next((one for one in facts.attempts if one.outcome == Outcome.REFRESHED), None)
    return latest is not None and latest.trigger == Trigger.TEST


def _silence(redis: RedisFacts, facts: Facts) -> str:
    """Return how the lease's holder shows that it is gone; "": it does not.

    A host may answer by another process of it. Who lives renews its lease each third of its time.
    """
    holder = (redis.lease_holder or "").partition("/")[0]
    if facts.workers is not None and not any(holder in name for name in facts.workers):
        return "does not answer"
    late = redis.lease_s is not None and (redis.lease_renewed_ago_s or 0) > redis.lease_s
    return "does not renew it any more" if late else ""


def _gone_caller(facts: Facts) -> str | None:
    """Return the worker whose attempt is open, where it is none of those that answer."""
    if facts.workers is None:
        return None
    opened = _open_attempt(facts)
    worker = opened.worker if opened is not None else None
    return worker if worker and worker not in facts.workers else None
