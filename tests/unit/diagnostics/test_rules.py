"""`explain` names the cause: one case each, and nothing is wrong where nothing is."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from models.pause_scope import PauseEntry
from models.providers import Provider
from models.rate_limit import WaitReason
from models.tables.account import Account, RefreshMethod, SessionManagement, Status
from models.tables.attempt import INTERRUPTED, Attempt, Outcome, Trigger
from worker.diagnostics.explain.facts import Facts, GateFacts, RedisFacts, Twin
from worker.diagnostics.explain.rules import diagnose
from worker.policy.gates import Gate
from worker.policy.reasons.login import PROBABLY_DEAD, TO_BE_CONFIRMED
from worker.policy.reasons.skipped import FRESH_TOKENS_REJECTED

NOW = 10_000.0
GOOD: dict[str, Any] = {
    "id": "acct",
    "provider": "acme",
    "token_url": "https://acme.example/token",
    "access_token_sealed": "sealed",
    "refresh_token_sealed": "sealed",
    "issued_at": NOW - 600,
    "expires_at": NOW + 3000,
    "generation": 7,
    "next_refresh_at": NOW + 2600,
}
REDIS = RedisFacts(where="127.0.0.1:6379/0", prefix="refreshd:", token_generation=7, state_generation=7)
WORKERS = {"celery@one": ["control", "refresh", "urgent"], "callback@one": ["callback"]}


def facts(account: dict[str, Any] | None = None, **more: Any) -> Facts:
    known: dict[str, Any] = {
        "now": NOW,
        "account": Account(**(GOOD | (account or {}))),
        "provider": Provider(name="acme"),
        "redis": REDIS,
        "workers": WORKERS,
        "planned_at": NOW - 1,
    }
    return Facts(**(known | more))


def attempt(
    outcome: Outcome, reason: str = "refreshed", trigger: Trigger = Trigger.PLANNED, **more: Any
) -> Attempt:
    fields: dict[str, Any] = {
        "id": "x",
        "account_id": "acct",
        "trigger": trigger,
        "opened_at": NOW - 5,
        "closed_at": NOW - 4,
    }
    return Attempt(
        **(fields | {"generation": 7, "config_version": 1, "outcome": outcome, "reason": reason} | more)
    )


PAUSE = PauseEntry(
    scope="provider", name="acme", paused_at=NOW - 600, actor="mia", host="desk-1", reason="an outage"
)
PROVING = Provider(name="acme", dpop=True)
BOUND = {"token_type": "DPoP"}
CALLBACK = {"refresh_method": RefreshMethod.CALLBACK, "callback": "acme"}
REVOKED = {"status": Status.REAUTHORIZE, "reason": "invalid_grant", "next_refresh_at": None}
CLIENT_REFUSED = {
    "status": Status.MISCONFIGURED,
    "reason": "invalid_client",
    "client_secret_sealed": "sealed",
}
REPORTED = attempt(Outcome.REFRESHED, trigger=Trigger.REPORTED)


def replaced(ages_s: list[float]) -> list[Attempt]:
    """Return a history, newest first, in which reports replaced tokens of these ages."""
    found = [attempt(Outcome.REFRESHED, opened_at=NOW - 5 - sum(ages_s), generation_after=8)]
    for nth, age_s in enumerate(ages_s):
        at = found[0].opened_at + age_s
        fields: dict[str, Any] = {"generation": 8 + nth, "generation_after": 9 + nth, "opened_at": at}
        found.insert(0, attempt(Outcome.REFRESHED, trigger=Trigger.REPORTED, **fields))
    return found


def gate(cause: WaitReason, reason: str = "server_error") -> GateFacts:
    """Return a closed gate that holds the account."""
    state = Gate(cause=cause, reason=reason, since=NOW - 60, by="acct-2", until=NOW + 30)
    return GateFacts(sentence="It is closed", next_words="acct-3 probes", gate=state, holds=True, accounts=7)


CASES: dict[str, Facts] = {
    "refresh_disabled": facts({"refresh_enabled": False, "status": Status.DISABLED, "next_refresh_at": None}),
    "session_none": facts(
        {"session_management": SessionManagement.NONE, "next_refresh_at": None, "expires_at": NOW - 5}
    ),
    "fixed_timeout_longer_than_token": facts(
        {"session_management": SessionManagement.FIXED, "session_timeout_s": 7200.0}
    ),
    "clock_skew": facts(skew_s=-7.0),
    "paused": facts({"expires_at": NOW - 5}, pauses=[PAUSE]),
    "beat_down": facts(planned_at=NOW - 3600),
    "no_worker_on_queue": facts(workers={"callback@one": ["callback"]}),
    "callback_not_registered": facts(CALLBACK, callbacks={"callback@one": ["acne"]}),
    "callback_registered_elsewhere": facts(CALLBACK, callbacks={"other@two": ["acme"]}),
    "callback_failing": facts(
        CALLBACK,
        callbacks={"callback@one": ["acme"]},
        attempts=[attempt(Outcome.RETRY, "callback_failed", error_description="ZeroDivisionError")],
    ),
    "not_published": facts(redis=replace(REDIS, token_generation=6)),
    "database_older_than_redis": facts(redis=replace(REDIS, token_generation=9, state_generation=9)),
    "redis_refuses": facts(redis=None, redis_error="WRONGPASS", redis_refuses=True, workers=None),
    "redis_unreachable": facts(redis=None, redis_error="refused", workers=None),
    "key_missing": facts(sealed_error="refresh_token of account acct is sealed with key 'k0'"),
    "lease_of_a_dead_worker": facts(redis=replace(REDIS, lease_holder="gone/12/abcd", lease_s=20.0)),
    "interrupted": facts({"claim_attempt": "x", "claim_until": NOW - 5}),
    "breaker_open": facts(gate=gate(WaitReason.DOWN)),
    "provider_paused": facts({"next_refresh_at": NOW - 1}, gate=gate(WaitReason.THROTTLED)),
    "client_gate_closed": facts(gate=gate(WaitReason.REFUSED)),
    "rate_limited": facts(attempts=[attempt(Outcome.RATE_LIMITED, "rate_limited", http_status=429)]),
    "provider_failing": facts({"failures": 3}, attempts=[attempt(Outcome.RETRY, "server_error")]),
    "grant_revoked": facts(
        REVOKED, attempts=[attempt(Outcome.REAUTHORIZE, "invalid_grant"), attempt(Outcome.REFRESHED)]
    ),
    "refresh_token_rotated_by_somebody_else": facts(
        REVOKED | {"generation": 1},
        attempts=[attempt(Outcome.REAUTHORIZE, "invalid_grant")],
        redis=replace(REDIS, token_generation=1, state_generation=1),
    ),
    "shared_grant": facts(
        REVOKED | {"generation": 1},
        attempts=[attempt(Outcome.REAUTHORIZE, "invalid_grant")],
        redis=replace(REDIS, token_generation=1, state_generation=1),
        twins=[Twin("twin", "active")],
    ),
    "refresh_token_spent_by_a_lost_answer": facts(
        REVOKED, attempts=[attempt(Outcome.REAUTHORIZE, "invalid_grant"), attempt(Outcome.RETRY, INTERRUPTED)]
    ),
    "refusal_to_be_confirmed": facts(
        {"reason": TO_BE_CONFIRMED, "next_refresh_at": NOW + 40},
        attempts=[attempt(Outcome.REAUTHORIZE, "invalid_grant")],
    ),
    "grant_probably_dead": facts(
        {"status": Status.DEGRADED, "reason": PROBABLY_DEAD, "failures": 12, "expires_at": NOW - 60},
        attempts=[attempt(Outcome.RETRY, "server_error", http_status=500)],
    ),
    "access_restricted": facts(
        {"status": Status.MISCONFIGURED, "reason": "access_restricted"},
        attempts=[attempt(Outcome.MISCONFIGURED, "access_restricted", error_description="ip restricted")],
    ),
    "client_id_missing": facts(
        CLIENT_REFUSED | {"client_id": "c", "client_auth": "basic"},
        attempts=[attempt(Outcome.MISCONFIGURED, "invalid_client", error_description="Missing client_id")],
    ),
    "scope_sent": facts(
        {"knobs": '{"send_scope": true}', "scope": "read"}, provider=Provider(name="acme", send_scope=True)
    ),
    "dpop_is_off": facts(
        {"status": Status.MISCONFIGURED, "reason": "invalid_dpop_proof"},
        attempts=[attempt(Outcome.MISCONFIGURED, "invalid_dpop_proof", http_status=400)],
    ),
    "dpop_key_unfit": facts(
        provider=PROVING,
        url_error="custom_fields.dpop_key: the account has none, and this provider needs one",
    ),
    "dpop_key_mismatch": facts(
        BOUND, provider=PROVING, url_error="custom_fields.dpop_key: not the key of the grant: one, two"
    ),
    "dpop_proof_refused": facts(
        BOUND | {"status": Status.MISCONFIGURED, "reason": "invalid_dpop_proof"},
        provider=PROVING,
        attempts=[attempt(Outcome.MISCONFIGURED, "invalid_dpop_proof", http_status=400)],
    ),
    "dpop_nonce_fails": facts(
        BOUND, provider=PROVING, attempts=[attempt(Outcome.RETRY, "dpop_nonce_required", http_status=400)]
    ),
    "dpop_key_replaced": facts(
        BOUND | REVOKED,
        provider=PROVING,
        attempts=[
            attempt(Outcome.REAUTHORIZE, "invalid_grant", request="POST u form(x) dpop(nonce, key two)"),
            attempt(Outcome.REFRESHED, request="POST u form(x) dpop(key one), sent again: ..."),
        ],
    ),
    "dpop_not_bound": facts(provider=PROVING),
    "client_refused": facts({"status": Status.MISCONFIGURED, "reason": "invalid_client"}),
    "wrong_token_url": facts(
        {"status": Status.MISCONFIGURED, "reason": "html_page"},
        attempts=[attempt(Outcome.MISCONFIGURED, "html_page", http_status=200)],
    ),
    "misconfigured": facts({"status": Status.MISCONFIGURED, "reason": "invalid_scope"}),
    "token_url_refused": facts(url_error="http://acme.example is not https"),
    "refresh_token_never_issued": facts({"refresh_token_sealed": None}),
    "provider_unknown": facts(provider=None),
    "provider_knobs_unfit": facts(
        {"status": Status.MISCONFIGURED, "reason": "provider_knobs_unfit"}, knobs_error="params a: can't nest"
    ),
    "api_rejects_fresh_tokens": facts(
        {"scope": "read"},
        attempts=[attempt(Outcome.NOT_DUE, FRESH_TOKENS_REJECTED, Trigger.REPORTED), *[REPORTED] * 3],
    ),
    "database_read_only": facts(read_only="disk is full"),
    "answer_in_stash": facts(redis=replace(REDIS, stashed=True, stash_error="key k0 is missing")),
    "overdue": facts({"next_refresh_at": NOW - 120}),
    "key_missing_on_a_worker": facts(
        {"status": Status.MISCONFIGURED, "reason": "key_missing"},
        attempts=[attempt(Outcome.MISCONFIGURED, "key_missing", worker="w@two")],
    ),
    "queue_full": facts(
        {"next_refresh_at": NOW - 120}, redis=replace(REDIS, queues={"refresh": 30}), queue_limit=30
    ),
    "refresh_token_ended": facts({"refresh_token_expires_at": NOW - 60}),
    "refresh_token_ends_soon": facts({"refresh_token_expires_at": NOW + 86_400}),
    "another_prefix": facts(redis=replace(REDIS, prefix="b:", default_prefix_generation=3)),
    "redis_clock_skew": facts(redis=replace(REDIS, ahead_s=60.0)),
    "scopes_lost": facts(attempts=[attempt(Outcome.REFRESHED, scope_lost="write")]),
    "token_ends_before_it_is_due": facts(attempts=replaced(ages_s=[900, 900])),
    "answer_of_a_test_waits": facts(
        redis=replace(REDIS, stashed=True),
        attempts=[
            attempt(Outcome.REFRESHED, "tested_not_stored", Trigger.TEST),
            attempt(Outcome.REFRESHED, generation_after=7),
        ],
    ),
    "lifetime_unknown": facts(CALLBACK | {"expires_at": None}, callbacks={"callback@one": ["acme"]}),
    "callback_not_used": facts({"callback": "acme", "expires_at": NOW - 60}),
    "callback_was_unknown": facts(
        CALLBACK | {"status": Status.MISCONFIGURED, "reason": "callback_unknown"},
        callbacks={"callback@one": ["acme"]},
    ),
    "callback_hanging": facts(
        CALLBACK, callbacks={"callback@one": ["acme"]}, attempts=[attempt(Outcome.RETRY, "timed_out")]
    ),
}


@pytest.mark.parametrize("cause", CASES)
def test_the_cause_is_named_first(cause: str) -> None:
    findings = diagnose(CASES[cause])
    assert findings
    assert findings[0].cause == cause
    assert findings[0].hint


def test_nothing_is_wrong_with_a_good_account() -> None:
    assert diagnose(facts(attempts=[attempt(Outcome.REFRESHED, generation_after=7)])) == []


def test_an_imported_token_that_was_never_refreshed_is_not_known_to_work() -> None:
    assert diagnose(facts()) == [], "its history was pruned"
    published = replace(REDIS, token_generation=1, state_generation=1)
    (found,) = diagnose(facts({"generation": 1, "published_generation": 1}, redis=published))
    assert (found.cause, found.wrong) == ("token_untried", False)
    assert "is unknown" in found.message
    assert "`refreshd refresh acct --force --wait` finds out" in found.hint


@pytest.mark.parametrize(("left_s", "said"), [(10.0, True), (23.0, False), (44.0, False)])
def test_a_lease_that_nobody_renews_is_told_by_process_and_time(left_s: float, said: bool) -> None:
    """Its host answers all the same: another worker runs there."""
    held = replace(REDIS, lease_holder="one/12/abcd/1", lease_s=left_s, lease_renewed_ago_s=45.0 - left_s)
    words = [one.message for one in diagnose(facts(redis=held)) if one.cause == "lease_of_a_dead_worker"]
    assert bool(words) is said
    if said:
        assert "process 12 on one, which does not renew it any more" in words[0]
        assert "It renewed the lease 35s ago" in words[0]
        assert "ends by itself in 10s" in words[0]


def test_what_was_never_published_is_not_missed_in_another_redis() -> None:
    """Just added: -1 is no generation."""
    never = replace(REDIS, token_generation=None, state_generation=None)
    found = diagnose(facts({"published_generation": -1}, redis=never))
    assert [one.cause for one in found] == ["not_published"]


def test_lost_scopes_are_named() -> None:
    lost = attempt(Outcome.REFRESHED, scope_lost="write")
    found = diagnose(facts({"scope": "read"}, attempts=[REPORTED, REPORTED, lost]))
    (alone,) = diagnose(facts({"scope": "read"}, attempts=[lost]))
    assert "`refreshd accounts authorize acct scope=...`" in alone.hint
    assert "lost these scopes: write" in found[0].message


def test_a_nonce_that_is_wanted_in_vain_is_told_once() -> None:
    assert [one.cause for one in diagnose(CASES["dpop_nonce_fails"])] == ["dpop_nonce_fails"]


def test_a_bound_token_that_is_rejected_may_lack_the_proof() -> None:
    rejected = attempt(Outcome.NOT_DUE, FRESH_TOKENS_REJECTED, Trigger.REPORTED)
    found = diagnose(facts(BOUND, provider=PROVING, attempts=[rejected, *[REPORTED] * 3]))
    assert found[0].cause == "api_rejects_fresh_tokens"
    assert "does the connector prove the account's `dpop_key`" in found[0].message


def test_another_shell_s_settings_are_no_cause_where_workers_do_send() -> None:
    assert diagnose(facts(url_error="plain http is refused", attempts=[attempt(Outcome.REFRESHED)])) == []


def test_the_nearest_callback_is_named() -> None:
    found = diagnose(facts(CALLBACK, callbacks={"callback@one": ["acmee", "other"]}))
    assert "The nearest is 'acmee'" in found[0].message


@pytest.mark.parametrize("status", [Status.DISABLED])
def test_a_disabled_account_is_not_blamed_on_beat(status: Status) -> None:
    found = diagnose(
        facts({"refresh_enabled": False, "status": status, "next_refresh_at": None}, planned_at=None)
    )
    assert [finding.cause for finding in found] == ["refresh_disabled"]


@pytest.mark.parametrize(
    ("workers", "words", "remedy"),
    [
        (WORKERS, "celery@one takes from `control`: so beat is down, or what it sends is refused", "REFRESHD_MESSAGE_KEYS"),
        ({"celery@one": ["refresh"]}, "no worker takes from `control`", "-Q urgent,control,refresh`"),
        (None, "Either beat is down, or no worker takes from `control`", "`celery -A worker.app beat`"),
    ],
)  # fmt: skip
def test_why_nothing_is_planned_is_told_by_who_answers(workers: Any, words: str, remedy: str) -> None:
    (found,) = diagnose(facts(planned_at=NOW - 3600, workers=workers))
    assert found.cause == "beat_down"
    assert words in found.message
    assert remedy in found.hint


@pytest.mark.parametrize(
    ("waiting", "words"),
    [
        (3, "3 messages wait in `callback`: all its processes"),
        (0, "No message waits in `callback`: its workers take them"),
    ],
)
def test_a_callback_that_nobody_runs_may_be_refused(waiting: int, words: str) -> None:
    redis = replace(REDIS, queues={"callback": waiting})
    account = CALLBACK | {"next_refresh_at": NOW - 120}
    (found,) = diagnose(facts(account, redis=redis, callbacks={"callback@one": ["acme"]}))
    assert words in found.message
    assert "`message_refused`" in found.hint


def test_a_pause_is_no_fault_while_the_token_is_good() -> None:
    (finding,) = diagnose(facts({"next_refresh_at": NOW - 60}, pauses=[PAUSE]))
    assert (finding.cause, finding.wrong) == ("paused", False)
    assert finding.message.startswith(
        "Planned refreshes of provider acme were paused 10m ago by mia@desk-1: an outage."
    )
    assert "`refreshd resume --provider acme`" in finding.hint


def test_a_pause_of_its_client_concerns_whoever_waits_for_it() -> None:
    paused = replace(gate(WaitReason.THROTTLED), holds=False)
    held = facts(gate=paused, attempts=[attempt(Outcome.REFRESHED, generation_after=7)])
    assert diagnose(held) == [], "it is due long after"
    (waits,) = diagnose(facts({"next_refresh_at": NOW + 20}, gate=paused))
    assert (waits.cause, waits.wrong) == ("provider_paused", False)
    (lacks,) = diagnose(facts({"next_refresh_at": NOW - 20, "expires_at": NOW - 5}, gate=paused))
    assert (lacks.cause, lacks.wrong) == ("provider_paused", True)
    assert [one.cause for one in diagnose(facts(REVOKED, gate=paused))] == ["grant_revoked"]


def test_a_pause_after_429_is_one_finding_with_the_providers_words() -> None:
    last = attempt(Outcome.RATE_LIMITED, "rate_limited", http_status=429, error_description="Slow down")
    account = {"next_refresh_at": NOW - 1, "failures": 1}
    (finding,) = diagnose(facts(account, attempts=[last], gate=gate(WaitReason.THROTTLED)))
    assert finding.cause == "rate_limited"
    assert 'It said: "Slow down". A gate holds this account and 6 others. It is closed.' in finding.message
    later = replace(gate(WaitReason.THROTTLED), holds=False)
    (finding,) = diagnose(facts({"next_refresh_at": NOW + 90}, attempts=[last], gate=later))
    assert "gate" not in finding.message, "it is due when the gate is open"


@pytest.mark.parametrize(
    ("cause", "advice"),
    [
        (WaitReason.DOWN, "`refreshd history acct-2`"),
        (WaitReason.REFUSED, "`refreshd explain acct-2`"),
        (WaitReason.THROTTLED, "`requests_per_s`"),
    ],
)
def test_a_closed_gate_says_who_closed_it_and_what_helps(cause: WaitReason, advice: str) -> None:
    (finding,) = diagnose(facts({"next_refresh_at": NOW - 1}, gate=gate(cause)))
    assert finding.message == "A gate holds this account and 6 others. It is closed. Next: acct-3 probes."
    assert advice in finding.hint
    assert "`refreshd refresh acct --force`" in finding.hint


def test_what_is_wrong_stands_before_what_is_worth_knowing() -> None:
    lost = attempt(Outcome.REFRESHED, scope_lost="write")
    found = diagnose(facts({"refresh_token_expires_at": NOW + 3600}, attempts=[lost], skew_s=9.0))
    assert [one.cause for one in found] == ["clock_skew", "refresh_token_ends_soon", "scopes_lost"]
    assert [one.wrong for one in found] == [True, False, False]


def test_a_callback_that_nobody_knows_is_told_once() -> None:
    unknown = {"status": Status.MISCONFIGURED, "reason": "callback_unknown"}
    (found,) = diagnose(facts(CALLBACK | unknown, callbacks={"callback@one": ["other"]}))
    assert found.cause == "callback_not_registered"


def test_what_stands_between_worker_and_provider_is_looked_for_where_the_worker_is() -> None:
    (found,) = diagnose(CASES["wrong_token_url"])
    assert "`curl -i -X POST https://acme.example/token`" in found.hint


def test_tokens_that_are_rejected_at_once_miss_a_permission_and_not_a_shorter_life() -> None:
    (found,) = diagnose(facts(attempts=replaced(ages_s=[30, 30])))
    assert found.cause == "api_rejects_fresh_tokens"


@pytest.mark.parametrize(
    ("client_auth", "words"),
    [("private_key_jwt", "private key"), ("mtls", "client certificate"), ("basic", "client secret")],
)
def test_a_client_that_is_refused_is_told_by_what_it_proves_itself(client_auth: str, words: str) -> None:
    refused = CLIENT_REFUSED | {"client_auth": client_auth}
    assert f"Probably its {words}" in diagnose(facts(refused))[0].message


def test_an_interruption_that_was_refreshed_since_is_not_blamed() -> None:
    refused, interrupted = attempt(Outcome.REAUTHORIZE, "invalid_grant"), attempt(Outcome.RETRY, INTERRUPTED)
    found = diagnose(facts(REVOKED, attempts=[refused, attempt(Outcome.REFRESHED), interrupted]))
    assert found[0].cause == "grant_revoked"


def test_a_test_says_nothing_of_why_the_account_is_misconfigured() -> None:
    refused = {"callback": "acme", "status": Status.MISCONFIGURED, "reason": "invalid_request"}
    tested = attempt(Outcome.RETRY, "unknown_error", Trigger.TEST, error_description="no tenant")
    planned = attempt(Outcome.MISCONFIGURED, "invalid_request", error_description="JSON please")
    found = {one.cause: one.message for one in diagnose(facts(refused, attempts=[tested, planned]))}
    assert found["misconfigured"].endswith('It said: "JSON please".')


def test_of_many_that_could_not_be_used_those_named_alike_are_told() -> None:
    problems = {f"m{n}": "ImportError" for n in range(9)} | {"acme_callback": "SyntaxError"}
    (found,) = diagnose(facts(CALLBACK, callbacks={"callback@one": ["other"]}, callback_problems=problems))
    assert "it never runs. acme_callback could not be used: SyntaxError." in found.message
    assert "Nor could 8 more (`refreshd callbacks list`). They know: other." in found.message


def test_a_callback_worker_that_has_said_nothing_yet_may_still_import() -> None:
    (found,) = diagnose(facts(CALLBACK))
    assert (
        "callback@one said nothing under the prefix `refreshd:`: a worker that has just started"
        in found.message
    )


def test_workers_that_answer_and_plan_nothing_here_may_have_another_database() -> None:
    (found,) = diagnose(facts(planned_at=None))
    assert "or they work on another database" in found.message
    assert "compare REFRESHD_DATABASE_URL" in found.hint


def test_an_account_that_waits_for_slow_callbacks_is_told_so() -> None:
    slow = facts(
        CALLBACK | {"next_refresh_at": NOW - 120},
        callbacks={"callback@one": ["acme"]},
        redis=replace(REDIS, queues={"callback": 12}),
    )
    (found,) = diagnose(slow)
    assert "12 messages wait in `callback`" in found.message


def test_a_callback_whose_module_is_broken_is_told_why() -> None:
    problems = {"acme_callback": "SyntaxError: (acme.py:3)"}
    found = diagnose(facts(CALLBACK, callback_problems=problems))[0]
    assert "SyntaxError: (acme.py:3)" in found.message
    assert found.hint.startswith("Mend that module")


@pytest.mark.parametrize(("rotates", "wrong"), [(True, True), (False, False), (None, False)])
def test_a_twin_of_a_good_account_is_wrong_where_refresh_tokens_are_replaced(
    rotates: bool | None, wrong: bool
) -> None:
    found = diagnose(facts(provider=Provider(name="acme", rotates=rotates), twins=[Twin("twin", "active")]))
    (finding,) = [one for one in found if one.cause == "shared_grant"]
    assert finding.wrong is wrong
    assert "twin (active)" in finding.message
    assert "have its connectors read twin" in finding.hint


def test_many_twins_are_counted_and_the_first_are_named() -> None:
    found = diagnose(facts(twins=[Twin(f"twin-{number}", "active") for number in range(20)]))
    (words,) = [one.message for one in found if one.cause == "shared_grant"]
    assert "twin-2 (active) and 17 more" in words
    assert "twin-3" not in words
