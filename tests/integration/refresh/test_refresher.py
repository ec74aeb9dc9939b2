"""One refresh, end to end: real SQL, real Redis, a scripted provider."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import parse_qs

import httpx
import pytest

from models.tables.account import Status
from models.tables.attempt import INTERRUPTED, AttemptEntry, Outcome, Trigger
from tests.integration.conftest import Bench
from worker.db.refresh.store import RefreshStore
from worker.policy.reasons.skipped import ATTEMPT_OPEN
from worker.refresh.admission import Admitted
from worker.refresh.attempt import OpenAttempt


def granted(_: httpx.Request) -> httpx.Response:
    return httpx.Response(
        200,
        json={
            "access_token": "new-access",
            "refresh_token": "new-refresh",
            "expires_in": 3600,
            "token_type": "bearer",
        },
    )


def test_a_token_is_stored_and_then_published(bench: Bench) -> None:
    bench.add()
    bench.answer = granted

    result = bench.refresh()["acct"]

    assert (result.outcome, result.generation) == (Outcome.REFRESHED, 2)
    (request,) = bench.requests
    assert parse_qs(request.content.decode()) == {
        "grant_type": ["refresh_token"],
        "refresh_token": ["old-refresh"],
        "client_id": ["client"],
        "client_secret": ["client-secret"],
    }
    row = bench.account()
    assert (row.generation, row.claim_attempt, row.status) == (2, None, Status.ACTIVE)
    assert row.next_refresh_at is not None
    assert row.expires_at is not None
    assert row.next_refresh_at < row.expires_at
    opened = bench.runtime.sealer.open(row, "refresh_token")
    assert opened is not None
    assert opened.reveal() == "new-refresh"
    token = bench.token()
    assert token is not None
    assert (token.access_token, token.generation) == ("new-access", 2)
    assert token.expires_at == pytest.approx(row.expires_at, abs=0.001)
    assert bench.events() == [("refreshed", "refreshed")]
    (attempt,) = bench.runtime.history.of("acct", limit=9)
    assert (attempt.outcome, attempt.generation, attempt.generation_after) == (Outcome.REFRESHED, 1, 2)
    assert attempt.closed_at is not None


def test_a_moved_generation_is_a_no_op(bench: Bench) -> None:
    bench.add(generation=7)

    result = bench.refresh(seen=6)["acct"]

    assert result.outcome == Outcome.SUPERSEDED
    assert bench.requests == []


def test_a_second_refresh_of_the_same_generation_makes_no_call(bench: Bench) -> None:
    bench.add()
    bench.answer = granted
    bench.refresh()

    assert bench.refresh()["acct"].outcome == Outcome.SUPERSEDED
    assert len(bench.requests) == 1


def test_a_refused_grant_leaves_the_plan_and_keeps_its_credentials(bench: Bench) -> None:
    bench.add()
    bench.answer = lambda _: httpx.Response(
        400, json={"error": "invalid_grant", "error_description": "revoked"}
    )

    result = bench.refresh()["acct"]

    assert result.outcome == Outcome.REAUTHORIZE
    row = bench.account()
    assert (row.status, row.next_refresh_at, row.generation) == (Status.REAUTHORIZE, None, 1)
    kept = bench.runtime.sealer.open(row, "refresh_token")
    assert kept is not None
    assert kept.reveal() == "old-refresh"
    state = bench.state()
    assert state is not None
    assert (state.status, state.reason) == ("reauthorize", "invalid_grant")
    assert bench.events() == [("failed", "invalid_grant"), ("reauthorize", "invalid_grant")]


def test_an_outage_of_the_provider_keeps_the_account_active_while_its_token_lives(bench: Bench) -> None:
    bench.add()
    bench.answer = lambda _: httpx.Response(503)

    assert bench.refresh()["acct"].outcome == Outcome.RETRY
    row = bench.account()
    assert row.status == Status.ACTIVE
    assert row.next_refresh_at is not None


def test_an_account_whose_token_ended_meanwhile_is_degraded(bench: Bench) -> None:
    account = bench.add()
    assert account.expires_at is not None
    bench.add("ended", expires_at=account.expires_at - 3600)
    bench.answer = lambda _: httpx.Response(503)

    bench.refresh("ended")

    assert bench.account("ended").status == Status.DEGRADED


@pytest.mark.parametrize("status", [503, 429])
def test_a_grant_that_is_gone_stays_gone_while_the_provider_is_down(bench: Bench, status: int) -> None:
    """Its token has ended, a person tries: nothing but a new login helps, and nobody shall wait for a retry."""
    gone = {"status": Status.REAUTHORIZE, "reason": "invalid_grant", "next_refresh_at": None, "plan_at": None}
    bench.add("ended", expires_at=1.0, **gone)
    bench.answer = lambda _: httpx.Response(status)

    bench.refresh("ended", trigger=Trigger.FORCED)

    row = bench.account("ended")
    assert (row.status, row.reason, row.plan_at) == (Status.REAUTHORIZE, "invalid_grant", None)
    assert [kind for kind, _ in bench.events()] == ["failed"]


def test_a_held_lease_is_busy_and_a_person_finds_it_in_the_history(bench: Bench) -> None:
    bench.add()
    bench.runtime.redis.set(bench.runtime.keys.lock("acct"), "somebody else", px=60_000)

    assert bench.refresh(trigger=Trigger.FORCED)["acct"].outcome == Outcome.BUSY
    assert bench.requests == []
    (entry,) = bench.runtime.history.of("acct", limit=9)
    assert (entry.outcome, entry.reason) == (Outcome.BUSY, "lease_held")


def test_an_open_attempt_keeps_others_off_even_without_redis_lease(bench: Bench) -> None:
    account = bench.add()
    assert account.next_refresh_at is not None
    bench.add("claimed", claim_attempt="somebody", claim_until=account.next_refresh_at + 60)

    assert bench.refresh("claimed")["claimed"].outcome == Outcome.BUSY
    assert bench.requests == []


def test_an_account_that_another_process_opened_since_it_was_loaded_is_not_called(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = bench.add()
    admit = bench.runtime.admission.admit

    async def late(ready: Sequence[OpenAttempt]) -> Admitted:
        theirs = AttemptEntry(
            id="theirs",
            account_id="acct",
            trigger="planned",
            opened_at=bench.runtime.clock.now(),
            generation=1,
            config_version=1,
        )
        RefreshStore(bench.runtime.engine, bench.runtime.clock).open([(theirs, account)], claim_s=60.0)
        return await admit(ready)

    monkeypatch.setattr(bench.runtime.admission, "admit", late)
    bench.answer = granted

    result = bench.refresh()["acct"]

    assert (result.outcome, result.reason, bench.requests) == (Outcome.BUSY, ATTEMPT_OPEN, [])
    assert bench.account().claim_attempt == "theirs"
    assert not bench.runtime.redis.exists(bench.runtime.keys.lock("acct"))


def test_the_lease_is_held_while_the_call_is_under_way_and_no_longer(bench: Bench) -> None:
    lock = bench.runtime.keys.lock("acct")
    held: list[object] = []

    def answer(request: httpx.Request) -> httpx.Response:
        held.append(bench.runtime.redis.exists(lock))
        return granted(request)

    bench.add()
    bench.answer = answer
    bench.refresh()
    assert (held, bench.runtime.redis.exists(lock)) == ([1], 0)
    assert bench.refresh(seen=1)["acct"].outcome == Outcome.SUPERSEDED
    assert not bench.runtime.redis.exists(lock)


def test_an_attempt_left_open_past_its_end_is_closed_as_ambiguous_and_replayed(bench: Bench) -> None:
    account = bench.add()
    now = bench.runtime.clock.now()
    entry = AttemptEntry(
        id="gone", account_id="acct", trigger="planned", opened_at=now, generation=1, config_version=1
    )
    refresh_store = RefreshStore(bench.runtime.engine, bench.runtime.clock)
    assert refresh_store.open([(entry, account)], claim_s=-1.0) == {"acct"}
    bench.answer = granted

    assert bench.refresh()["acct"].outcome == Outcome.REFRESHED

    left = next(one for one in bench.runtime.history.of("acct", limit=9) if one.id == "gone")
    assert (left.outcome, left.reason, left.closed_at is None) == (Outcome.RETRY, INTERRUPTED, False)


def test_one_account_s_failure_is_its_own(bench: Bench) -> None:
    for number in range(20):
        bench.add(f"acct-{number}", refresh_token=f"refresh-{number}")

    def some(request: httpx.Request) -> httpx.Response:
        if "refresh-7" in request.content.decode():
            return httpx.Response(400, json={"error": "invalid_grant"})
        return granted(request)

    bench.answer = some
    results = bench.refresh(*(f"acct-{number}" for number in range(20)))

    failed = [account for account, result in results.items() if result.outcome != Outcome.REFRESHED]
    assert failed == ["acct-7"]
