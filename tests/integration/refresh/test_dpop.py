"""A refresh that proves possession (DPoP, RFC 9449), end to end: one attempt, whatever its proof took."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import httpx
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey
from sqlmodel import Session, select

from models.tables.attempt import Attempt, Outcome, Trigger
from tests.integration.accounts.conftest import AccountServices
from tests.integration.conftest import Bench
from worker.accounts.apply import Intent
from worker.db.accounts.stored import Accounts, Change

KEY = ECKey.generate_key("P-256").as_pem(private=True).decode()
TOKENS = {"access_token": "new", "refresh_token": "new-refresh", "token_type": "DPoP", "expires_in": 3600}


def add(bench: Bench, **fields: Any) -> None:
    custom = bench.seal("acct", "custom_fields", json.dumps({"dpop_key": KEY}))
    bench.add(**{"knobs": '{"dpop": true}', "custom_fields_sealed": custom, **fields})


def answers(bench: Bench, *replies: httpx.Response | Exception) -> None:
    waiting = list(replies)

    def reply(_: httpx.Request) -> httpx.Response:
        found = waiting.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    answer: Callable[[httpx.Request], httpx.Response] = reply
    bench.answer = answer


def wants(nonce: str) -> httpx.Response:
    return httpx.Response(400, json={"error": "use_dpop_nonce"}, headers={"DPoP-Nonce": nonce})


def attempts(bench: Bench) -> list[Attempt]:
    with Session(bench.runtime.engine) as session:
        return list(session.exec(select(Attempt).order_by(Attempt.id)))


def test_a_nonce_is_fetched_within_one_attempt_and_one_generation(bench: Bench) -> None:
    add(bench)
    answers(bench, wants("n-1"), httpx.Response(200, json=TOKENS))

    result = bench.refresh()["acct"]

    assert (result.outcome, result.generation) == (Outcome.REFRESHED, 2)
    assert len(bench.requests) == 2
    (attempt,) = attempts(bench)
    assert attempt.outcome == Outcome.REFRESHED
    assert attempt.request is not None
    assert attempt.request.endswith("sent again: it had asked for its nonce")
    token = bench.token()
    assert token is not None
    assert (token.token_type, token.generation) == ("DPoP", 2)
    assert bench.account().token_type == "DPoP"


def test_a_provider_that_never_takes_its_nonce_costs_no_grant(bench: Bench) -> None:
    add(bench)
    answers(bench, wants("n-1"), wants("n-2"), httpx.Response(200, json=TOKENS))

    assert bench.refresh()["acct"].reason == "dpop_nonce_required"
    account = bench.account()
    assert (account.generation, account.status, account.failures) == (1, "active", 1)

    assert bench.refresh(trigger=Trigger.FORCED)["acct"].outcome is Outcome.REFRESHED
    assert len(bench.requests) == 3


def test_a_second_request_that_breaks_is_ambiguous_like_a_first(bench: Bench) -> None:
    add(bench)
    answers(bench, wants("n-1"), httpx.ReadError("reset"))

    assert bench.refresh()["acct"].reason == "connection_broken"
    assert len(bench.requests) == 2


def test_a_token_that_is_not_bound_is_stored_published_and_told(bench: Bench) -> None:
    add(bench)
    answers(bench, httpx.Response(200, json={**TOKENS, "token_type": "Bearer"}))

    assert bench.refresh()["acct"].outcome is Outcome.REFRESHED

    token = bench.token()
    assert token is not None
    assert token.token_type == "Bearer"
    (attempt,) = attempts(bench)
    assert (attempt.error, attempt.error_description) == (
        None,
        "not bound to the DPoP key: token_type Bearer",
    )


def test_an_account_without_its_key_asks_nobody(bench: Bench) -> None:
    add(bench, custom_fields_sealed=None)

    result = bench.refresh()["acct"]

    assert (result.outcome, result.reason) == (Outcome.MISCONFIGURED, "dpop_key_unfit")
    assert not bench.requests


def jwt_bound_to(key: ECKey) -> str:
    """Return an access token as a server signs it that binds tokens to keys (RFC 9449 section 6.1)."""
    return jwt.encode(
        {"alg": "HS256"}, {"sub": "alice", "cnf": {"jkt": key.thumbprint()}}, OctKey.import_key("k" * 32)
    )


def test_a_key_that_is_not_the_grants_asks_nobody_until_it_is_put_right(bench: Bench) -> None:
    theirs = ECKey.generate_key("P-256")
    add(bench, access_token_sealed=bench.seal("acct", "access_token", jwt_bound_to(theirs)))

    result = bench.refresh()["acct"]

    assert (result.outcome, result.reason) == (Outcome.MISCONFIGURED, "dpop_key_mismatch")
    assert not bench.requests
    assert bench.account().status == "misconfigured"
    (attempt,) = attempts(bench)
    assert theirs.thumbprint() in (attempt.error_description or "")
    assert bench.account().refresh_token_sealed is not None

    account = bench.account()
    seen = (account.generation, account.config_version)
    right = theirs.as_pem(private=True).decode()
    applied = AccountServices(bench.runtime.sealer).change(
        account, {"custom_fields.dpop_key": right}, intent=Intent.PERSON, now=time.time()
    )
    Accounts(bench.runtime.engine).save([], [Change(applied.account, *seen)])
    assert bench.account().status == "active"
    answers(bench, httpx.Response(200, json=TOKENS))
    assert bench.refresh()["acct"].outcome is Outcome.REFRESHED


def test_nothing_that_is_stored_or_published_holds_the_key(bench: Bench) -> None:
    add(bench)
    line = KEY.splitlines()[1]
    answers(
        bench, httpx.Response(400, json={"error": "invalid_dpop_proof", "error_description": f"for {line}"})
    )
    bench.refresh()
    answers(bench, httpx.Response(200, json=TOKENS))
    bench.refresh(trigger=Trigger.FORCED)

    rows = [*(one.model_dump_json() for one in attempts(bench)), bench.account().model_dump_json()]
    redis: Any = bench.runtime.redis
    assert line not in "\n".join([*rows, str(redis.hgetall(bench.runtime.keys.token("acct")))])
    assert len(attempts(bench)) == 2
