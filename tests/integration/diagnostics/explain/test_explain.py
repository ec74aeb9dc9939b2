"""`explain` on real stores: each cause is staged, and it has to be what the page says first, with what to type."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable

import pytest
from joserfc.jwk import ECKey

from models.pause_scope import Scope
from models.tables.attempt import Trigger
from models.tables.audit import Actor
from refreshd_reader.contract import Keys
from tests.integration.diagnostics.explain.desk import STANDARD, AccountServices, answer
from worker.db.planning.pauses import Pauses


def test_nothing_is_wrong_and_it_says_what_a_connector_has_to_find(desk: AccountServices) -> None:
    desk.good()
    cause, shown = desk.first()
    assert cause == ""
    assert "Nothing is wrong that refreshd can see" in shown
    assert "Good; it ends in " in shown
    assert "a margin before the token ends" in shown
    assert f"refreshd's is {desk.settings.redis.rpartition('@')[2]}" in shown
    assert "redis-cli -u REDIS_URL hgetall 'refreshd:token:{acct}' 2>&1 | grep -A1 -E '^generation$|" in shown
    assert "Here it gives generation 2." in shown


# --- what the account says -----------------------------------------------------------------------------


def disabled(desk: AccountServices) -> None:
    desk.good()
    desk.execute("UPDATE account SET refresh_enabled = false, next_refresh_at = NULL, status = 'disabled'")


def session_none(desk: AccountServices) -> None:
    desk.good()
    desk.execute("UPDATE account SET session_management = 'none', next_refresh_at = NULL, expires_at = 1")


def fixed_too_long(desk: AccountServices) -> None:
    desk.good(session_management="fixed", session_timeout_s=7200.0)


def paused(desk: AccountServices) -> None:
    desk.bench.add(expires_at=time.time() - 60)
    Pauses(desk.bench.runtime.engine).pause(
        Scope.PROVIDER, ["acme"], for_s=None, reason="deploy", actor=Actor("mia", "desk")
    )


def never_issued(desk: AccountServices) -> None:
    desk.bench.add(refresh_token_sealed=None, refresh_fp=None)


def provider_unknown(desk: AccountServices) -> None:
    desk.bench.add(token_url=None)


def knobs_unfit(desk: AccountServices) -> None:
    desk.bench.add(knobs='{"params": {"a": {"b": "c"}}}')
    desk.bench.refresh()


def plain_http(desk: AccountServices) -> None:
    desk.bench.add(token_url="http://provider.example/token")


def refresh_token_over(desk: AccountServices) -> None:
    desk.bench.add(refresh_token_expires_at=time.time() - 3600)


# --- the fleet -----------------------------------------------------------------------------------------


def beat_down(desk: AccountServices) -> None:
    desk.bench.add()
    desk.planned_ago_s = 3600


def no_worker(desk: AccountServices) -> None:
    desk.bench.add()
    desk.workers = {"callback@one": ["callback"]}


def no_callback_worker(desk: AccountServices) -> None:
    desk.bench.add(refresh_method="callback", callback="acme")
    desk.workers = STANDARD


def queue_full(desk: AccountServices) -> None:
    overdue(desk)
    desk.bench.runtime.redis.lpush("refresh", *["{}"] * 200)


def overdue(desk: AccountServices) -> None:
    desk.good()
    desk.execute("UPDATE account SET next_refresh_at = :at", at=time.time() - 3600)


def dead_worker(desk: AccountServices) -> None:
    desk.good()
    desk.bench.runtime.redis.set(Keys().lock("acct"), "gone@two/12/abc/1", px=40_000)


def interrupted(desk: AccountServices) -> None:
    desk.bench.add(claim_attempt="a", claim_until=time.time() - 5)


# --- what the provider answers -------------------------------------------------------------------------


def breaker_open(desk: AccountServices) -> None:
    desk.good()
    desk.bench.runtime.run(
        desk.bench.runtime.admission.close()
    )  # its success is known before the others fail
    desk.execute("UPDATE account SET next_refresh_at = next_refresh_at - 1e6, plan_at = 0")
    desk.bench.answer = answer(503)
    for number in range(3):
        desk.bench.add(f"other-{number}", succeeded_at=1.0, refresh_token=f"refresh-{number}")
        desk.bench.refresh(f"other-{number}")
    desk.bench.refresh(seen=2)


def rate_limited(desk: AccountServices) -> None:
    desk.good()
    desk.bench.answer = answer(429, {}, headers={"Retry-After": "60"})
    desk.bench.refresh(seen=2, trigger=Trigger.FORCED)


def failing(desk: AccountServices) -> None:
    desk.good()
    desk.bench.answer = answer(500, {"error": "server_error"})
    desk.bench.refresh(seen=2, trigger=Trigger.FORCED)


def revoked(desk: AccountServices) -> None:
    desk.good()
    desk.bench.answer = answer(400, {"error": "invalid_grant", "error_description": "Token has been revoked"})
    desk.bench.refresh(seen=2, trigger=Trigger.FORCED)


def rotated_elsewhere(desk: AccountServices) -> None:
    desk.bench.add()
    desk.bench.answer = answer(400, {"error": "invalid_grant"})
    desk.bench.refresh()


def secret_rotated(desk: AccountServices) -> None:
    desk.good()
    desk.bench.answer = answer(401, {"error": "invalid_client"})
    desk.bench.refresh(seen=2, trigger=Trigger.FORCED)


def refused_once(desk: AccountServices) -> None:
    desk.good(knobs='{"rotates": false}')
    desk.bench.answer = answer(400, {"error": "invalid_grant", "error_description": "no such grant"})
    desk.bench.refresh(seen=2, trigger=Trigger.FORCED)


def dead_behind_a_proxy(desk: AccountServices) -> None:
    desk.good()
    desk.execute("UPDATE account SET expires_at = issued_at, failures = 4")
    desk.bench.answer = answer(
        500, {"error": "server_error", "error_description": "Token refresh failed: 400"}
    )
    desk.bench.refresh(seen=2, trigger=Trigger.FORCED)


def secret_never_given(desk: AccountServices) -> None:
    desk.bench.add(client_secret_sealed=None)
    desk.bench.answer = answer(401, {"error": "invalid_client"})
    desk.bench.refresh()


def secret_in_another_form(desk: AccountServices) -> None:
    desk.good(client_auth="basic", client_secret_sealed=desk.bench.seal("acct", "client_secret", "s3cr+t/="))
    desk.bench.answer = answer(401, {"error": "invalid_client"})
    desk.bench.refresh(seen=2, trigger=Trigger.FORCED)


def client_id_wanted(desk: AccountServices) -> None:
    desk.good(client_auth="basic")
    desk.bench.answer = answer(
        401, {"error": "unauthorized_client", "error_description": "Missing client_id"}
    )
    desk.bench.refresh(seen=2, trigger=Trigger.FORCED)


def login_hours(desk: AccountServices) -> None:
    desk.good()
    desk.bench.answer = answer(
        400, {"error": "invalid_grant", "error_description": "IP restricted or invalid login hours"}
    )
    desk.bench.refresh(seen=2, trigger=Trigger.FORCED)


def used_elsewhere(desk: AccountServices) -> None:
    desk.good()
    desk.bench.answer = answer(
        400, {"error": "invalid_grant", "error_description": "refresh token was used before"}
    )
    desk.bench.refresh(seen=2, trigger=Trigger.FORCED)


def proving(desk: AccountServices, key: str | None = None) -> None:
    custom = json.dumps({"dpop_key": key or ECKey.generate_key("P-256").as_pem(private=True).decode()})
    desk.good(knobs='{"dpop": true}', custom_fields_sealed=desk.bench.seal("acct", "custom_fields", custom))


def nonce_in_vain(desk: AccountServices) -> None:
    proving(desk)
    desk.bench.answer = answer(400, {"error": "use_dpop_nonce"})
    desk.bench.refresh(seen=2, trigger=Trigger.FORCED)


def key_forgotten(desk: AccountServices) -> None:
    proving(desk)
    desk.execute("UPDATE account SET custom_fields_sealed = NULL")
    desk.bench.refresh(seen=2, trigger=Trigger.FORCED)


def key_of_another_grant(desk: AccountServices) -> None:
    theirs = base64.urlsafe_b64encode(json.dumps({"cnf": {"jkt": "t" * 43}}).encode()).decode().rstrip("=")
    proving(desk)
    sealed = desk.bench.seal("acct", "access_token", f"e30.{theirs}.c2ln")
    desk.execute("UPDATE account SET access_token_sealed = :sealed", sealed=sealed)
    desk.bench.refresh(seen=2, trigger=Trigger.FORCED)


def html(desk: AccountServices) -> None:
    desk.bench.add()
    desk.bench.answer = answer(
        200, "<!DOCTYPE html><html>Welcome</html>", headers={"content-type": "text/html"}
    )
    desk.bench.refresh()


# --- what lies between the token and the API -----------------------------------------------------------


def redis_flushed(desk: AccountServices) -> None:
    desk.good()
    desk.bench.runtime.redis.delete(Keys().token("acct"))


def redis_older(desk: AccountServices) -> None:
    desk.good()
    desk.bench.runtime.redis.hset(Keys().token("acct"), "generation", "1")


def restored(desk: AccountServices) -> None:
    desk.good()
    desk.execute("UPDATE account SET generation = 1")


def permission_missing(desk: AccountServices) -> None:
    desk.good(scope="read write")
    desk.bench.answer = answer(200, {"access_token": "new", "expires_in": 3600, "scope": "read"})
    desk.reported(times=4)


def scopes_lost(desk: AccountServices) -> None:
    desk.bench.add(scope="read write")
    desk.bench.answer = answer(200, {"access_token": "new", "expires_in": 3600, "scope": "read"})
    desk.bench.refresh()


def shorter_than_planned(desk: AccountServices) -> None:
    desk.good(session_timeout_s=7200.0, session_management="fixed")
    desk.execute("UPDATE account SET expires_at = NULL")
    desk.bench.answer = answer(200, {"access_token": "new"})
    desk.execute("UPDATE attempt SET opened_at = opened_at - 900")
    desk.reported(times=3, apart_s=900.0)


CAUSES: dict[str, tuple[Callable[[AccountServices], None], list[str]]] = {
    "refresh_disabled": (disabled, ["Refreshing is switched off", "`refreshd accounts enable acct`"]),
    "session_none": (session_none, ["`none`", "`refreshd accounts edit acct session_management=auto`"]),
    "fixed_timeout_longer_than_token": (fixed_too_long, ["every 7200 s, but the provider's tokens live 3600 s", "auto"]),
    "paused": (paused, ["deploy", "`refreshd resume --provider acme`"]),
    "refresh_token_never_issued": (never_issued, ["offline_access"]),
    "provider_unknown": (provider_unknown, ["`refreshd accounts edit acct token_url=https://...`"]),
    "provider_knobs_unfit": (knobs_unfit, ["params a: only a JSON body can nest", "`refreshd accounts edit acct KNOB=VALUE`"]),
    "token_url_refused": (plain_http, ["http"]),
    "refresh_token_ended": (refresh_token_over, ["`refreshd accounts authorize acct authorize_url=https://...`"]),
    "beat_down": (beat_down, ["the last plan ended 1h ago", "`celery -A worker.app beat`"]),
    "no_worker_on_queue": (no_worker, ["`celery -A worker.app worker -n refresh@%h -P threads -c 8 -Q urgent,control,refresh`"]),
    "no_worker_on_queue (callbacks)": (no_callback_worker, ["`celery -A worker.app worker -n callback@%h -P threads -Q callback`"]),
    "queue_full": (queue_full, ["200 messages wait", "more workers"]),
    "overdue": (overdue, ["due for 1h", "`refreshd status`"]),
    "lease_of_a_dead_worker": (dead_worker, ["process 12 on gone@two, which does not answer", "ago", "ends by itself in"]),
    "interrupted": (interrupted, ["`refreshd refresh acct --force --wait`"]),
    "breaker_open": (breaker_open, ["it was down for several accounts", "other-2 last of them", "`refreshd refresh acct --force`"]),
    "rate_limited": (rate_limited, ["asked to be left alone (The provider says that it is asked too often.)", "requests_per_s"]),
    "provider_failing": (failing, ["`refreshd history acct`"]),
    "grant_revoked": (revoked, ['"Token has been revoked"', "`refreshd accounts authorize acct"]),
    "refresh_token_rotated_by_somebody_else": (rotated_elsewhere, ["very first use", "Stop the other program"]),
    "refresh_token_rotated_by_somebody_else (it says so)": (used_elsewhere, ["was used before", "Stop the other program first"]),
    "refusal_to_be_confirmed": (refused_once, ['"no such grant"', "is made in", "`refreshd refresh acct --force --wait`"]),
    "grant_probably_dead": (dead_behind_a_proxy, ["probably dead", "HTTP 500", '"Token refresh failed: 400"', "`refreshd accounts authorize acct"]),
    "access_restricted": (login_hours, ["this network", '"IP restricted or invalid login hours"']),
    "client_refused (no secret)": (secret_never_given, ["has no client secret", "`refreshd accounts edit acct client_auth=none`"]),
    "client_refused (its form)": (secret_in_another_form, ["form-encoding", "client_auth=basic_raw`"]),
    "client_id_missing": (client_id_wanted, ['"Missing client_id"', """params='{"client_id": "${account.client_id}"}'`"""]),
    "client_refused": (secret_rotated, ["client secret was replaced", "client_secret=@FILE`"]),
    "dpop_nonce_fails": (nonce_in_vain, ["asked for its nonce", "DPoP-Nonce"]),
    "dpop_key_unfit": (key_forgotten, ["the account has none", "custom_fields.dpop_key=@FILE`"]),
    "dpop_key_mismatch": (key_of_another_grant, ["bound to " + "t" * 43, "custom_fields.dpop_key=@FILE`", "authorize acct`"]),
    "wrong_token_url": (html, ["no token endpoint", "`refreshd accounts edit acct token_url=https://...`"]),
    "not_published": (redis_flushed, ["Redis has none", "`refreshd refresh acct --force --wait`"]),
    "not_published (older)": (redis_older, ["Redis has generation 1"]),
    "database_older_than_redis": (restored, ["`refreshd db restored`"]),
    "api_rejects_fresh_tokens": (permission_missing, ["Granted scopes: read.", "lost these scopes: write"]),
    "scopes_lost": (scopes_lost, ["lost these scopes: write. Left: read."]),
    "token_ends_before_it_is_due": (shorter_than_planned, ["about 90", "session_timeout_s=72"]),
}  # fmt: skip


@pytest.mark.parametrize("cause", CAUSES)
def test_the_cause_is_named_first_with_what_to_do(cause: str, desk: AccountServices) -> None:
    stage, words = CAUSES[cause]
    stage(desk)

    desk.names_first(cause.partition(" ")[0], words)
