"""A refresh by callback, end to end: the same lease, generations, ledger, publication and history as any other."""

from __future__ import annotations

import json
from typing import Any

import pytest

from models.rate_limit import WaitReason
from models.tables.account import Account, Status
from models.tables.attempt import Outcome, Trigger
from models.token import Secret
from refreshd_reader.contract import Keys
from tests.integration.conftest import Bench
from tests.integration.refresh.test_refresher import granted
from worker.policy.gates import EVIDENCE
from worker.policy.reasons.correction import TOKEN_URL_HOST_NOT_ALLOWED
from worker.policy.reasons.done import REFRESH_TOKEN_ALONE, STASH_ADOPTED, TESTED_NOT_STORED
from worker.policy.reasons.skipped import METHOD_NOT_RUN_HERE


def add(bench: Bench, callback: str | None, account: str = "acct", **fields: Any) -> Account:
    return bench.add(account, refresh_method="callback", callback=callback, **fields)


def secret(bench: Bench, name: str, account: str = "acct") -> str:
    found = bench.runtime.sealer.open(bench.account(account), name)
    assert found is not None
    return found.reveal()


def test_what_it_returns_is_stored_published_and_the_input_of_the_next(bench: Bench) -> None:
    add(bench, "rotates")

    results = [bench.refresh(seen=seen, trigger=Trigger.FORCED)["acct"] for seen in (1, 2)]

    assert [(one.outcome, one.generation) for one in results] == [
        (Outcome.REFRESHED, 2),
        (Outcome.REFRESHED, 3),
    ]
    row = bench.account()
    assert (secret(bench, "access_token"), secret(bench, "refresh_token")) == (
        "old-access++",
        "old-refresh++",
    )
    assert (row.scope, row.status, row.claim_attempt) == ("a b", Status.ACTIVE, None)
    assert row.expires_at is not None
    assert row.issued_at is not None
    assert row.expires_at - row.issued_at == pytest.approx(3600)
    token = bench.token()
    assert token is not None
    assert (token.access_token, token.generation) == ("old-access++", 3)
    assert bench.events() == [("refreshed", "refreshed")] * 2


def test_its_history_says_what_it_was_given_and_gave_without_a_secret(bench: Bench) -> None:
    add(bench, "rotates")
    bench.refresh()

    (attempt,) = bench.runtime.history.of("acct", limit=9)
    assert attempt.request == (
        "callback rotates (python): access_token 10 characters; consumer_secret 13 characters; "
        "refresh_token 11 characters; consumer_id client; "
        "access_token_refresh_url https://provider.example/token; custom_fields none"
    )
    assert attempt.output is not None
    assert attempt.output.startswith("[refreshd] returned access_token (11 characters, fingerprint ")
    assert "refresh_token (new, 12 characters" in attempt.output
    assert attempt.received_fp != attempt.refresh_fp
    assert "old-refresh" not in attempt.output


def test_an_omitted_refresh_token_keeps_the_old_one(bench: Bench) -> None:
    add(bench, "keeps")
    assert bench.refresh()["acct"].outcome == Outcome.REFRESHED
    assert (secret(bench, "access_token"), secret(bench, "refresh_token")) == ("old-access+", "old-refresh")


def test_it_is_given_everything_under_its_names(bench: Bench) -> None:
    fields = Secret(json.dumps({"subdomain": "eu"}))
    sealed = bench.runtime.sealer.seal("acct", "custom_fields", fields)
    add(bench, "echoes", custom_fields_sealed=sealed)
    bench.refresh()

    assert json.loads(secret(bench, "access_token")) == {
        "account_id": "acct",
        "access_token": "old-access",
        "consumer_id": "client",
        "consumer_secret": "client-secret",
        "refresh_token": "old-refresh",
        "access_token_refresh_url": "https://provider.example/token",
        "custom_fields": {"subdomain": "eu"},
    }


def test_what_the_account_does_not_have_is_empty(bench: Bench) -> None:
    add(bench, "echoes", client_id=None, client_secret_sealed=None, token_url=None, access_token_sealed=None)
    bench.refresh()

    given = json.loads(secret(bench, "access_token"))
    assert {name for name, value in given.items() if not value} == {
        "access_token", "consumer_id", "consumer_secret", "access_token_refresh_url", "custom_fields"
    }  # fmt: skip


def test_an_error_response_asks_for_the_user_and_keeps_every_credential(bench: Bench) -> None:
    add(bench, "refuses")

    result = bench.refresh()["acct"]

    assert (result.outcome, result.reason) == (Outcome.REAUTHORIZE, "invalid_grant")
    row = bench.account()
    assert (row.status, row.next_refresh_at, row.generation) == (Status.REAUTHORIZE, None, 1)
    assert (secret(bench, "access_token"), secret(bench, "refresh_token")) == ("old-access", "old-refresh")


@pytest.mark.parametrize(
    ("callback", "words"),
    [
        ("rotate", "no callback 'rotate'; did you mean 'rotates'? known: closes-stdout, crashes, "),
        (None, "the account names no callback"),
        ("os.system", "no callback 'os.system'"),
    ],
)
def test_a_callback_that_nobody_registered_is_misconfigured_and_nothing_is_imported(
    bench: Bench, callback: str | None, words: str
) -> None:
    add(bench, callback)

    result = bench.refresh()["acct"]

    assert (result.outcome, result.reason) == (Outcome.MISCONFIGURED, "callback_unknown")
    (attempt,) = bench.runtime.history.of("acct", limit=9)
    assert attempt.error_description is not None
    assert words in attempt.error_description


def test_a_worker_that_runs_no_callbacks_passes_it_on_and_opens_nothing(bench: Bench) -> None:
    add(bench, "rotates")
    bench.add("plain")
    bench.answer = granted
    del bench.runtime.callers[next(method for method in bench.runtime.callers if method == "callback")]

    results = bench.refresh("acct", "plain", trigger=Trigger.REPORTED)

    assert (results["acct"].outcome, results["acct"].reason) == (Outcome.NOT_SENT, METHOD_NOT_RUN_HERE)
    assert results["plain"].outcome == Outcome.REFRESHED
    assert bench.account().claim_attempt is None
    assert bench.runtime.history.of("acct", limit=9) == []
    assert not bench.runtime.redis.exists(Keys().lock("acct"))


def test_a_callback_that_hangs_closes_its_own_gate_and_nobody_elses(bench: Bench) -> None:
    for number in range(EVIDENCE + 1):
        add(bench, "sleeps", f"slow-{number}", succeeded_at=1.0)
    for number in range(EVIDENCE):
        bench.refresh(f"slow-{number}")
    add(bench, "rotates", "other")
    bench.add("standard")
    bench.answer = granted

    last = bench.refresh(f"slow-{EVIDENCE}")[f"slow-{EVIDENCE}"]

    assert (last.outcome, last.reason) == (Outcome.NOT_SENT, WaitReason.DOWN)
    assert bench.refresh("other")["other"].outcome == Outcome.REFRESHED
    assert bench.refresh("standard")["standard"].outcome == Outcome.REFRESHED


def test_a_test_stores_nothing_and_says_what_it_would_have(bench: Bench) -> None:
    account = add(bench, "keeps")
    before = bench.account()

    result = bench.refresh(trigger=Trigger.TEST)["acct"]

    assert (result.outcome, result.reason, result.generation) == (Outcome.REFRESHED, TESTED_NOT_STORED, 1)
    after = bench.account()
    assert after.model_dump() == before.model_dump()
    assert bench.token() is None
    (attempt,) = bench.runtime.history.of("acct", limit=9)
    assert (attempt.trigger, attempt.generation_after) == (Trigger.TEST, None)
    assert attempt.next_refresh_at is not None
    assert account.expires_at is not None
    assert attempt.next_refresh_at > account.expires_at
    assert attempt.received_fp == attempt.refresh_fp


def test_a_test_runs_the_callback_of_an_account_that_does_not_use_it_yet(bench: Bench) -> None:
    bench.add(callback="keeps")
    assert bench.refresh(trigger=Trigger.TEST)["acct"].outcome == Outcome.REFRESHED
    assert bench.requests == []


def test_a_failed_test_leaves_the_account_as_it_was(bench: Bench) -> None:
    add(bench, "refuses")
    before = bench.account().model_dump()

    result = bench.refresh(trigger=Trigger.TEST)["acct"]

    assert (result.outcome, result.reason) == (Outcome.REAUTHORIZE, "invalid_grant")
    assert bench.account().model_dump() == before
    assert bench.events() == []


def test_a_refresh_token_beside_a_misspelt_access_token_is_stored_and_used_next(bench: Bench) -> None:
    add(bench, "rotates-and-misspells")

    result = bench.refresh()["acct"]

    assert (result.outcome, result.reason) == (Outcome.RETRY, REFRESH_TOKEN_ALONE)
    assert (secret(bench, "refresh_token"), secret(bench, "access_token")) == ("old-refresh+", "old-access")
    (attempt,) = bench.runtime.history.of("acct", limit=9)
    assert "did you mean 'access_token'?" in (attempt.error_description or "")
    assert "new refresh_token" in (attempt.output or "")


def test_a_refresh_token_that_a_test_replaced_is_not_lost_where_it_came_alone(bench: Bench) -> None:
    """Its access token is the old one: it is not published as a new one, and the account stays due."""
    add(bench, "rotates-and-misspells")
    bench.refresh(trigger=Trigger.TEST)
    assert secret(bench, "refresh_token") == "old-refresh"
    before = bench.account()

    result = bench.refresh()["acct"]

    assert (result.outcome, result.reason) == (Outcome.RETRY, REFRESH_TOKEN_ALONE)
    row = bench.account()
    assert (secret(bench, "refresh_token"), secret(bench, "access_token")) == ("old-refresh+", "old-access")
    assert (row.expires_at, row.issued_at, row.generation) == (before.expires_at, before.issued_at, 2)
    assert (bench.token(), row.next_refresh_at is not None) == (None, True)
    assert not bench.runtime.redis.exists(bench.runtime.keys.stash("acct"))


def test_a_refresh_token_that_a_test_replaced_is_not_lost(bench: Bench) -> None:
    add(bench, "rotates")
    bench.refresh(trigger=Trigger.TEST)
    assert secret(bench, "refresh_token") == "old-refresh"

    result = bench.refresh()["acct"]

    assert (result.outcome, result.reason) == (Outcome.REFRESHED, STASH_ADOPTED)
    assert secret(bench, "refresh_token") == "old-refresh+"


def test_a_shared_client_s_secret_is_not_given_to_it_with_an_address_of_the_account_s_own(
    bench: Bench,
) -> None:
    bench.add_client("crm")
    add(bench, "rotates", client="crm", token_url="https://attacker.example/t")
    add(bench, "rotates", "other", client="crm", refresh_token="other-refresh")
    found = bench.refresh("acct", "other")
    assert (found["acct"].outcome, found["acct"].reason) == (
        Outcome.MISCONFIGURED,
        TOKEN_URL_HOST_NOT_ALLOWED,
    )
    assert found["other"].outcome is Outcome.REFRESHED
