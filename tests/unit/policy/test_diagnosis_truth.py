"""A page is never clean where no good token is there; it says what is missing, since when and why."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from models.providers import Provider
from models.rate_limit import WaitReason
from models.tables.account import SessionManagement, Status
from models.tables.attempt import Attempt, Outcome, Trigger
from tests.unit.diagnostics.test_rules import (
    CALLBACK,
    GOOD,
    NOW,
    PAUSE,
    REDIS,
    REVOKED,
    attempt,
    facts,
    replaced,
)
from worker.db.publication.comparison import Loss
from worker.diagnostics.explain.facts import Facts, Finding
from worker.diagnostics.explain.rules import diagnose
from worker.policy.reasons.skipped import FRESH_TOKENS_REJECTED

ENDED = {"expires_at": NOW - 2280}
NEVER = {"access_token_sealed": None, "expires_at": None, "issued_at": None, "generation": 0}
KNOWN = {"callback@one": ["acme"]}


def first(known: Facts) -> Finding:
    return diagnose(known)[0]


def refused(outcome: Outcome, reason: str, **more: Any) -> list[Attempt]:
    return [attempt(outcome, reason, **more)]


#: Why there is no token -> the cause that is named first, and words of it.
WITHOUT: dict[str, tuple[Facts, str, list[str]]] = {
    "a 429 that asks for two hours": (
        facts(ENDED | {"next_refresh_at": NOW + 4920}, attempts=refused(Outcome.RATE_LIMITED, "rate_limited")),
        "rate_limited",
        ["asked to be left alone", "the last one ended 38m ago", "The next try is due in 1h 22m"],
    ),
    "a 429 after failures of its own": (
        facts(ENDED | {"failures": 3}, attempts=refused(Outcome.RATE_LIMITED, "rate_limited")),
        "rate_limited",
        ["the last one ended 38m ago"],
    ),
    "a callback that refuses time and again": (
        facts(
            CALLBACK | ENDED | {"failures": 5, "next_refresh_at": NOW + 16},
            callbacks=KNOWN,
            attempts=refused(
                Outcome.RETRY, "unknown_error", error="access_denied", error_description="IP not allowed"
            ),
        ),
        "callback_refuses",
        ["returned an errorResponse 5 times in a row", 'It said: "access_denied: IP not allowed"', "The next try is due in 16s"],
    ),
    "a provider that fails, and no token ever": (
        facts(NEVER | {"created_at": NOW - 180, "failures": 7}, attempts=refused(Outcome.RETRY, "server_error")),
        "provider_failing",
        ["none was ever stored: it was added 3m ago"],
    ),
    "a pause, and no token ever": (facts(NEVER, pauses=[PAUSE]), "paused", ["Readers have no token"]),
    "a callback that is not used": (facts(NEVER | {"callback": "acme"}), "callback_not_used", ["never runs"]),
    "a gate": (
        facts(ENDED | {"next_refresh_at": NOW - 7}, attempts=refused(Outcome.NOT_SENT, WaitReason.REFUSED)),
        "no_token",
        ["the last one ended 38m ago", "ended as `not sent`", "had refused the same client", "due for 7s"],
    ),
    "nothing tried yet": (facts(NEVER), "no_token", ["No refresh was tried yet.", "The next try is due in"]),
    "nothing planned": (facts(ENDED | {"next_refresh_at": None}), "no_token", ["No refresh is planned."]),
    "overdue": (facts(ENDED | {"next_refresh_at": NOW - 420}), "overdue", ["due for 7m", "ended 38m ago"]),
    "a call that hangs": (
        facts(
            ENDED | {"claim_attempt": "x", "claim_until": NOW + 28},
            attempts=[attempt(Outcome.RETRY, id="x", opened_at=NOW - 17, closed_at=None, worker="celery@one")],
        ),
        "refresh_under_way",
        ["under way for 17s on celery@one", "Its hold on the account ends by itself in 28s", "come back under its name"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("why", WITHOUT)
def test_what_is_missing_is_said_with_since_when_and_why(why: str) -> None:
    known, cause, words = WITHOUT[why]
    found = first(known)
    assert (found.cause, found.wrong) == (cause, True), found
    for part in words:
        assert part in found.message


@pytest.mark.parametrize("status", list(Status))
@pytest.mark.parametrize("lack", [ENDED, NEVER])
@pytest.mark.parametrize("more", [{}, {"attempts": refused(Outcome.REFRESHED, "refreshed")}, {"redis": None}])
def test_no_page_is_clean_without_a_good_token(
    status: Status, lack: dict[str, Any], more: dict[str, Any]
) -> None:
    assert any(one.wrong for one in diagnose(facts(lack | {"status": status}, **more)))


def test_a_call_that_has_just_begun_is_no_news_while_the_token_is_good() -> None:
    held = {"claim_attempt": "x", "claim_until": NOW + 44}
    fresh = attempt(Outcome.RETRY, id="x", opened_at=NOW - 1, closed_at=None, worker="celery@one")
    assert diagnose(facts(held, attempts=[fresh])) == []
    (old,) = diagnose(facts(held, attempts=[fresh.model_copy(update={"opened_at": NOW - 17})]))
    assert (old.cause, old.wrong) == ("refresh_under_way", False)


def test_an_imported_life_of_milliseconds_is_noticed() -> None:
    imported = {"generation": 1, "issued_at": NOW - 60, "expires_at": NOW - 60 + 3_600_000}
    found = {one.cause: one for one in diagnose(facts(imported, redis=None, redis_error="away"))}
    assert "a thousand times 1h" in found["imported_life_implausible"].message
    assert "`refreshd refresh acct --force --wait`" in found["imported_life_implausible"].hint
    ours = attempt(Outcome.REFRESHED, generation=0, generation_after=1)
    assert "imported_life_implausible" not in {
        one.cause for one in diagnose(facts(imported, attempts=[ours]))
    }
    month = GOOD | {"generation": 1, "issued_at": NOW, "expires_at": NOW + 30 * 86_400}
    assert "imported_life_implausible" not in {one.cause for one in diagnose(facts(month))}


@pytest.mark.parametrize(
    ("ahead_s", "wrong"), [(480.0, False), (-90.0, False), (20.0, False), (-5.0, False), (1.0, None)]
)
def test_a_worker_whose_clock_is_off_is_named(ahead_s: float, wrong: bool | None) -> None:
    found = diagnose(facts(clocks={"celery@one": ahead_s}))
    assert [(one.cause, one.wrong) for one in found] == (
        [] if wrong is None else [("worker_clock_skew", wrong)]
    )
    for one in found:
        assert "The clock of celery@one is" in one.message


def test_a_clock_that_was_set_back_is_named_and_beat_is_not_blamed() -> None:
    (found,) = diagnose(facts(planned_at=NOW + 3556))
    assert found.cause == "clock_set_back"
    assert "59m" in found.message
    later = attempt(Outcome.REFRESHED, opened_at=NOW + 3000, generation_after=7)
    assert first(facts(attempts=[later])).cause == "clock_set_back"


def test_a_standby_is_told_apart_from_a_full_disk() -> None:
    standby = facts(read_only="cannot execute INSERT in a read-only transaction")
    assert "point REFRESHD_DATABASE_URL to the primary" in first(standby).hint
    assert "disk space" in first(facts(read_only="database or disk is full")).hint


@pytest.mark.parametrize(("published", "comes_back"), [(6, True), (-1, True), (7, False)])
def test_a_token_that_redis_lost_unnoticed_is_not_promised_back_within_seconds(
    published: int, comes_back: bool
) -> None:
    lost = replace(REDIS, token_generation=None)
    found = first(facts({"published_generation": published}, redis=lost))
    assert found.cause == "not_published"
    assert "seconds" not in found.message + found.hint
    assert ("the next refresh in 43m" in found.message) is not comes_back


def test_a_loss_that_was_made_good_is_told_to_whom_it_concerns() -> None:
    named = Loss(1, "taken_over", NOW - 300, ("acct",))
    (found,) = diagnose(facts(loss=named))
    assert (found.cause, found.wrong) == ("redis_had_lost_tokens", False)
    assert "5m ago Redis lacked what was published of this account: Redis was restarted" in found.message
    assert diagnose(facts(loss=replace(named, some=("other",)))) == []
    assert diagnose(facts(loss=replace(named, at=NOW - 7200))) == []
    many = diagnose(facts(loss=replace(named, accounts=5000)))
    assert "5,000 accounts, this one among them" in many[0].message
    for lacking in ({"token_generation": None}, {"state_generation": None}, {"token_generation": 6}):
        told = diagnose(facts(loss=named, redis=replace(REDIS, **lacking)))
        assert "redis_had_lost_tokens" not in {one.cause for one in told}


def test_tokens_that_live_a_minute_are_no_missing_permission() -> None:
    left_alone = attempt(Outcome.NOT_DUE, FRESH_TOKENS_REJECTED, Trigger.REPORTED)
    found = first(facts(attempts=[left_alone, *replaced(ages_s=[60, 61, 59])]))
    assert found.cause == "token_ends_before_it_is_due"
    assert "session_timeout_s=48" in found.hint


def test_advice_that_would_be_refused_is_not_given() -> None:
    off = {"refresh_enabled": False, "status": Status.DISABLED, "next_refresh_at": None}
    assert first(facts(off)).hint == "`refreshd accounts enable acct`"
    assert first(facts(off | {"refresh_token_sealed": None})).hint.startswith("Store a refresh token first")


def test_a_callback_of_a_dead_worker_did_run() -> None:
    ran = attempt(Outcome.REFRESHED, worker="callback@gone", opened_at=NOW - 18, generation_after=7)
    words = first(facts(CALLBACK, callbacks={"callback@one": ["other"]}, attempts=[ran])).message
    assert "does not run any more: it ran 18s ago, on callback@gone, which does not answer now" in words
    known = first(facts(CALLBACK, callbacks={"callback@gone": ["acme"]}, attempts=[ran]))
    assert (
        "known to callback@gone only (which does not answer: it was killed, or is cut off)" in known.message
    )


@pytest.mark.parametrize(
    "known",
    [
        facts(attempts=[attempt(Outcome.REFRESHED, scope_lost="write", generation_after=7)]),
        facts(pauses=[PAUSE]),
        facts({"callback": "acme"}),
        facts(attempts=refused(Outcome.RETRY, "server_error", http_status=503)),
    ],
)
def test_what_breaks_nothing_now_is_worth_knowing(known: Facts) -> None:
    assert [one.wrong for one in diagnose(known)] == [False]


def test_a_fixed_day_is_too_long_where_a_test_has_shown_an_hour() -> None:
    fixed = {"session_management": SessionManagement.FIXED, "session_timeout_s": 86_400.0}
    tested = attempt(
        Outcome.REFRESHED,
        "tested_not_stored",
        Trigger.TEST,
        output="printed by it\n[refreshd] returned access_token (9 characters), expires_in 3600, scope 'read'",
    )
    unknown = CALLBACK | fixed | {"issued_at": None, "expires_at": None}
    assert diagnose(facts(unknown, callbacks=KNOWN)) == []
    found = first(facts(unknown, callbacks=KNOWN, attempts=[tested]))
    assert found.cause == "fixed_timeout_longer_than_token"
    assert "every 86400 s, but the provider's tokens live 3600 s" in found.message
    hour = unknown | {"session_timeout_s": 3000.0}
    assert diagnose(facts(hour, callbacks=KNOWN, attempts=[tested])) == []


def test_a_session_that_plans_nothing_says_so_before_the_lack() -> None:
    none = ENDED | {"session_management": SessionManagement.NONE, "next_refresh_at": None}
    assert [one.cause for one in diagnose(facts(none))] == ["session_none"]
    chosen = none | {"expires_at": NOW + 3000}
    assert diagnose(facts(chosen)) == [], "a policy that was chosen, and a token that is good"
    assert [one.cause for one in diagnose(facts(REVOKED | ENDED))] == ["grant_revoked"]


@pytest.mark.parametrize(
    ("before", "told"),
    [
        (
            [(Outcome.MISCONFIGURED, {"http_status": 400, "error": "invalid_scope"})],
            "HTTP 400, invalid_scope",
        ),
        ([(Outcome.RETRY, {"http_status": 503})], "HTTP 503"),
        ([(Outcome.RETRY, {}), (Outcome.RETRY, {"http_status": 503})], "HTTP 503"),
        ([(Outcome.RETRY, {})], None),
        ([(Outcome.RETRY, {"http_status": 503, "generation": 6})], None),
        ([(Outcome.RATE_LIMITED, {"http_status": 429})], None),
        ([(Outcome.REFRESHED, {"http_status": 200}), (Outcome.RETRY, {"http_status": 503})], None),
    ],
    ids=[
        "a refusal",
        "a failure",
        "a failure before the last",
        "no answer",
        "another token",
        "not served",
        "worked since",
    ],
)
def test_an_answer_that_may_have_spent_the_refused_token_is_named(
    before: list[tuple[Outcome, dict[str, Any]]], told: str | None
) -> None:
    earlier = [attempt(outcome, "why", opened_at=NOW - 305, **more) for outcome, more in before]
    found = first(facts(REVOKED, attempts=[attempt(Outcome.REAUTHORIZE, "invalid_grant"), *earlier]))
    assert found.cause == "grant_revoked"
    if told is None:
        assert "answered otherwise" not in found.message
    else:
        assert f"5m before, the same refresh token was answered otherwise ({told})" in found.message


def test_a_provider_that_keeps_refresh_tokens_spent_none() -> None:
    failed = attempt(Outcome.RETRY, "why", opened_at=NOW - 305, http_status=503)
    history = [attempt(Outcome.REAUTHORIZE, "invalid_grant"), failed]
    for rotates, told in ((None, True), (True, True), (False, False)):
        provider = Provider(name="acme", rotates=rotates)
        found = first(facts(REVOKED, attempts=history, provider=provider))
        assert ("answered otherwise" in found.message) is told
