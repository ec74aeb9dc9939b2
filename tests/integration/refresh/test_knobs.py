"""An account whose own knobs no longer fit its provider: the operator has described that otherwise since."""

from __future__ import annotations

import time

import httpx
import pytest
from sqlalchemy import text

from models.tables.account import Status
from models.tables.attempt import Outcome, Trigger
from models.token import Secret, TokenSet
from tests.integration.conftest import Bench
from tests.integration.refresh.test_refresher import granted
from worker.db.engine import writing
from worker.diagnostics.explain.gather import gather
from worker.errors import KnobsUnfit
from worker.policy.reasons.correction import PROVIDER_KNOBS_UNFIT
from worker.redis.pending_answers import PendingAnswer, PendingAnswers

#: Only a JSON body can hold it, and the provider takes a form now.
NESTED = '{"params": {"a": {"b": "secret-value"}}}'


def test_it_alone_is_misconfigured_and_its_neighbours_are_refreshed(bench: Bench) -> None:
    bench.add("one")
    bench.add("unfit", knobs=NESTED)
    bench.add("other")
    bench.answer = granted

    results = bench.refresh("one", "unfit", "other")

    assert {account: result.outcome for account, result in results.items()} == {
        "one": Outcome.REFRESHED,
        "unfit": Outcome.MISCONFIGURED,
        "other": Outcome.REFRESHED,
    }
    assert len(bench.requests) == 2
    row = bench.account("unfit")
    assert (row.status, row.reason) == (Status.MISCONFIGURED, PROVIDER_KNOBS_UNFIT)
    assert row.next_refresh_at is not None
    (attempt,) = bench.runtime.history.of("unfit", limit=9)
    assert attempt.error_description is not None
    assert "params a: only a JSON body can nest" in attempt.error_description
    assert "secret-value" not in attempt.error_description


def test_what_it_is_told_is_told_to_a_person_too(bench: Bench) -> None:
    account = bench.add("unfit", knobs=NESTED)
    with pytest.raises(KnobsUnfit, match="what account 'unfit' sets itself"):
        bench.runtime.providers.of(account)
    assert gather(bench.runtime, "unfit", workers=dict).knobs_error is not None


def test_its_answer_that_waited_is_stored_and_it_stays_planned(bench: Bench) -> None:
    bench.add("unfit", knobs=NESTED)
    now = time.time()
    tokens = TokenSet(
        access_token=Secret("waited"),
        refresh_token=Secret("next"),
        token_type="Bearer",
        scope=None,
        issued_at=now,
        expires_at=now + 3600,
    )
    stash = PendingAnswers(bench.runtime.async_redis, bench.runtime.keys, bench.runtime.cipher)
    bench.runtime.run(stash.put({"unfit": stash.seal("unfit", PendingAnswer(1, tokens))}))

    assert bench.refresh("unfit")["unfit"].outcome == Outcome.REFRESHED

    assert bench.requests == []
    row = bench.account("unfit")
    assert (row.generation, row.status) == (2, Status.ACTIVE)
    assert row.next_refresh_at is not None


def test_an_edit_during_the_call_is_heeded_all_the_same(bench: Bench) -> None:
    bench.add()

    def edited_meanwhile(request: httpx.Request) -> httpx.Response:
        with writing(bench.runtime.engine) as connection:
            connection.execute(
                text(
                    "UPDATE account SET knobs = :knobs, config_version = config_version + 1, "
                    "session_management = 'fixed', session_timeout_s = 600"
                ),
                {"knobs": NESTED},
            )
        return granted(request)

    bench.answer = edited_meanwhile
    assert bench.refresh(trigger=Trigger.FORCED)["acct"].outcome == Outcome.REFRESHED
    bench.runtime.run(bench.runtime.committer.drain())

    row = bench.account()
    assert row.issued_at is not None
    assert row.next_refresh_at is not None
    assert row.next_refresh_at - row.issued_at <= 600
