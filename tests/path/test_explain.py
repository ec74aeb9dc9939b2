"""`explain` on real stores: each cause is staged, and it has to be what the page says first, with what to type."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import httpx
import pytest
from joserfc.jwk import ECKey
from pydantic import SecretStr
from rich.console import Console
from sqlalchemy import text

from models.attempt import Trigger
from models.audit import Actor
from models.pause import Scope
from models.token import Secret
from refreshd_reader.contract import Keys
from tests.callbacks.conftest import WILD, module_path  # noqa: F401
from tests.path.conftest import Bench
from tests.path.test_refresh import granted
from worker.cli.explain import as_object
from worker.cli.explain_page import page
from worker.cli.facts import gather
from worker.errors import UnknownAccount
from worker.io.callback_offer import Offer
from worker.io.callback_presence import Presence
from worker.io.cipher import generate_key
from worker.io.database import writing
from worker.io.pauses import Pauses
from worker.policy.diagnosis import diagnose
from worker.policy.facts import Facts
from worker.settings import Settings
from worker.stores import Stores

STANDARD: Mapping[str, Sequence[str]] = {"standard@one": ["control", "refresh", "urgent"]}
ALL: Mapping[str, Sequence[str]] = {**STANDARD, "callback@one": ["callback"]}
#: Far wider than any line: what is searched for stands in one piece.
_WIDE = 10_000


class Desk:
    """An account's story, and what `explain` makes of it."""

    def __init__(self, bench: Bench, settings: Settings) -> None:
        self.bench = bench
        self.settings = settings
        self.workers: Mapping[str, Sequence[str]] | None = ALL
        self.execute("DELETE FROM duty")
        self.execute("INSERT INTO duty (name, finished_at, until) VALUES ('plan', :now, 0)", now=time.time())

    def execute(self, statement: str, **parameters: Any) -> None:
        with writing(self.bench.runtime.engine) as connection:
            connection.execute(text(statement), parameters)

    def good(self, **fields: Any) -> None:
        """Have an account with a good token, stored and published by a refresh."""
        self.bench.add(**fields)
        self.bench.answer = granted
        self.bench.refresh()

    def reported(self, *, times: int, apart_s: float = 30.0, seen: int = 2) -> None:
        """Have a connector report each token, and have time pass in between."""
        for number in range(times):
            self.bench.refresh(seen=seen + number, trigger=Trigger.REPORTED)
            self.execute("UPDATE attempt SET opened_at = opened_at - :s", s=apart_s)
            self.execute("UPDATE account SET issued_at = issued_at - :s", s=apart_s)

    def offer(self, worker: str, *names: str, problems: Mapping[str, str] | None = None) -> None:
        known = {name: {"kind": "python", "where": "here.py:1"} for name in names}
        offer = Offer.from_json({"callbacks": known, "problems": dict(problems or {})})
        Presence(self.bench.runtime.redis, self.settings.redis_prefix).announce(worker, offer)

    def facts(self, settings: Settings | None = None, *, ahead_s: float = 0.0) -> Facts:
        here = Stores(settings or self.settings)
        try:
            here.engine  # noqa: B018  (sets the clock)
            here.clock.set(time.time() - ahead_s)
            return gather(here, "acct", workers=lambda: self.workers)
        finally:
            here.close()

    def first(self, settings: Settings | None = None, **options: Any) -> tuple[str, str]:
        """Give the first cause, and the page as it is printed."""
        facts = self.facts(settings, **options)
        findings = diagnose(facts)
        said = as_object(facts, findings)
        console = Console(width=_WIDE, no_color=True)
        with console.capture() as printed:
            console.print(page(facts, findings))
        shown = "\n".join(line.rstrip() for line in printed.get().splitlines())
        assert all(finding["remedy"] in shown for finding in said["findings"])
        return said["findings"][0]["cause"] if findings else "", shown


@pytest.fixture
def settings(sqlite_url: str, redis_url: str, tmp_path: Any) -> Settings:
    return Settings(
        database_url=SecretStr(sqlite_url),
        redis_url=SecretStr(redis_url),
        keys=SecretStr(generate_key()),
        data_dir=tmp_path,
        callback_modules=(WILD,),
    )


@pytest.fixture
def desk(bench: Bench, settings: Settings) -> Desk:
    return Desk(bench, settings)


@pytest.fixture
def wild(settings: Settings, module_path: Any) -> Iterator[Desk]:  # noqa: ARG001, F811
    """Give a desk whose worker runs callbacks, and says so."""
    made = Bench(settings, runs_callbacks=True)
    desk = Desk(made, settings)
    desk.offer("callback@one", "rotates", "keeps", "raises", "sleeps", "refuses")
    yield desk
    made.runtime.close()


def changed(settings: Settings, update: dict[str, Any]) -> Settings:
    """Give other settings: a copy would keep what was derived from the old ones."""
    return Settings(**(settings.model_dump() | update))


def answer(status: int, body: Any = None, **more: Any) -> Callable[[httpx.Request], httpx.Response]:
    content = {"text": body} if isinstance(body, str) else {"json": body}
    return lambda _: httpx.Response(status, **content, **more)


def test_nothing_is_wrong_and_it_says_what_a_connector_has_to_find(desk: Desk) -> None:
    desk.good()
    cause, shown = desk.first()
    assert cause == ""
    assert "Nothing is wrong that refreshd can see" in shown
    assert "Good; it ends in " in shown
    assert "a margin before the token ends" in shown
    assert f"refreshd's is {desk.settings.redis.rpartition('@')[2]}" in shown
    assert "redis-cli -u REDIS_URL hget 'refreshd:token:{acct}' generation\n" in shown
    assert "Here it gives generation 2." in shown


# --- what the account says -----------------------------------------------------------------------------


def disabled(desk: Desk) -> None:
    desk.good()
    desk.execute("UPDATE account SET refresh_enabled = false, next_refresh_at = NULL, status = 'disabled'")


def session_none(desk: Desk) -> None:
    desk.good()
    desk.execute("UPDATE account SET session_management = 'none', next_refresh_at = NULL")


def fixed_too_long(desk: Desk) -> None:
    desk.good(session_management="fixed", session_timeout_s=7200.0)


def paused(desk: Desk) -> None:
    desk.bench.add(expires_at=time.time() - 60)
    Pauses(desk.bench.runtime.engine).pause(
        Scope.PROVIDER, ["acme"], for_s=None, reason="deploy", actor=Actor("mia", "desk")
    )


def never_issued(desk: Desk) -> None:
    desk.bench.add(refresh_token_sealed=None, refresh_fp=None)


def provider_unknown(desk: Desk) -> None:
    desk.bench.add(token_url=None)


def knobs_unfit(desk: Desk) -> None:
    desk.bench.add(knobs='{"params": {"a": {"b": "c"}}}')
    desk.bench.refresh()


def plain_http(desk: Desk) -> None:
    desk.bench.add(token_url="http://provider.example/token")


def refresh_token_over(desk: Desk) -> None:
    desk.bench.add(refresh_token_expires_at=time.time() - 3600)


# --- the fleet -----------------------------------------------------------------------------------------


def beat_down(desk: Desk) -> None:
    desk.bench.add()
    desk.execute("UPDATE duty SET finished_at = finished_at - 3600")


def no_worker(desk: Desk) -> None:
    desk.bench.add()
    desk.workers = {"callback@one": ["callback"]}


def no_callback_worker(desk: Desk) -> None:
    desk.bench.add(refresh_method="callback", callback="acme")
    desk.workers = STANDARD


def queue_full(desk: Desk) -> None:
    overdue(desk)
    desk.bench.runtime.redis.lpush("refresh", *["{}"] * 200)


def overdue(desk: Desk) -> None:
    desk.good()
    desk.execute("UPDATE account SET next_refresh_at = :at", at=time.time() - 120)


def dead_worker(desk: Desk) -> None:
    desk.good()
    desk.bench.runtime.redis.set(Keys().lock("acct"), "gone@two/12/abc/1", px=40_000)


def interrupted(desk: Desk) -> None:
    desk.bench.add(claim_attempt="a", claim_until=time.time() - 5)


# --- what the provider answers -------------------------------------------------------------------------


def breaker_open(desk: Desk) -> None:
    desk.bench.answer = answer(503)
    for number in range(10):
        desk.bench.add(f"other-{number}")
        desk.bench.refresh(f"other-{number}")
    desk.bench.add()


def rate_limited(desk: Desk) -> None:
    desk.bench.add()
    desk.bench.answer = answer(429, {}, headers={"Retry-After": "60"})
    desk.bench.refresh()


def failing(desk: Desk) -> None:
    desk.bench.add()
    desk.bench.answer = answer(500, {"error": "server_error"})
    desk.bench.refresh()


def revoked(desk: Desk) -> None:
    desk.good()
    desk.bench.answer = answer(400, {"error": "invalid_grant", "error_description": "Token has been revoked"})
    desk.bench.refresh(seen=2, trigger=Trigger.FORCED)


def rotated_elsewhere(desk: Desk) -> None:
    desk.bench.add()
    desk.bench.answer = answer(400, {"error": "invalid_grant"})
    desk.bench.refresh()


def secret_rotated(desk: Desk) -> None:
    desk.good()
    desk.bench.answer = answer(401, {"error": "invalid_client"})
    desk.bench.refresh(seen=2, trigger=Trigger.FORCED)


def proving(desk: Desk, key: str | None = None) -> None:
    custom = json.dumps({"dpop_key": key or ECKey.generate_key("P-256").as_pem(private=True).decode()})
    desk.good(knobs='{"dpop": true}', custom_fields_sealed=desk.bench.seal("acct", "custom_fields", custom))


def nonce_in_vain(desk: Desk) -> None:
    proving(desk)
    desk.bench.answer = answer(400, {"error": "use_dpop_nonce"})
    desk.bench.refresh(seen=2, trigger=Trigger.FORCED)


def key_forgotten(desk: Desk) -> None:
    proving(desk)
    desk.execute("UPDATE account SET custom_fields_sealed = NULL")
    desk.bench.refresh(seen=2, trigger=Trigger.FORCED)


def html(desk: Desk) -> None:
    desk.bench.add()
    desk.bench.answer = answer(
        200, "<!DOCTYPE html><html>Welcome</html>", headers={"content-type": "text/html"}
    )
    desk.bench.refresh()


# --- what lies between the token and the API -----------------------------------------------------------


def redis_flushed(desk: Desk) -> None:
    desk.good()
    desk.bench.runtime.redis.delete(Keys().token("acct"))


def redis_older(desk: Desk) -> None:
    desk.good()
    desk.bench.runtime.redis.hset(Keys().token("acct"), "generation", "1")


def restored(desk: Desk) -> None:
    desk.good()
    desk.execute("UPDATE account SET generation = 1")


def permission_missing(desk: Desk) -> None:
    desk.good(scope="read write")
    desk.bench.answer = answer(200, {"access_token": "new", "expires_in": 3600, "scope": "read"})
    desk.reported(times=4)


def scopes_lost(desk: Desk) -> None:
    desk.bench.add(scope="read write")
    desk.bench.answer = answer(200, {"access_token": "new", "expires_in": 3600, "scope": "read"})
    desk.bench.refresh()


def shorter_than_planned(desk: Desk) -> None:
    desk.good(session_timeout_s=7200.0, session_management="fixed")
    desk.execute("UPDATE account SET expires_at = NULL")
    desk.bench.answer = answer(200, {"access_token": "new"})
    desk.execute("UPDATE attempt SET opened_at = opened_at - 900")
    desk.reported(times=3, apart_s=900.0)


CAUSES: dict[str, tuple[Callable[[Desk], None], list[str]]] = {
    "refresh_disabled": (disabled, ["Refreshing is switched off", "`refreshd accounts enable acct`"]),
    "session_none": (session_none, ["`none`", "`refreshd accounts edit acct session_management=auto`"]),
    "fixed_timeout_longer_than_token": (fixed_too_long, ["every 7200 s, but the provider's tokens live 3600 s", "auto"]),
    "paused": (paused, ["deploy", "`refreshd resume --provider acme`"]),
    "refresh_token_never_issued": (never_issued, ["offline_access"]),
    "provider_unknown": (provider_unknown, ["`refreshd accounts edit acct token_url=https://...`"]),
    "provider_knobs_unfit": (knobs_unfit, ["params a: only a JSON body can nest", "`refreshd accounts edit acct KNOB=VALUE`"]),
    "token_url_refused": (plain_http, ["http"]),
    "refresh_token_ended": (refresh_token_over, ["`refreshd accounts authorize acct`"]),
    "beat_down": (beat_down, ["the last plan ended 36", "`celery -A worker.app beat`"]),
    "no_worker_on_queue": (no_worker, ["`celery -A worker.app worker -P threads -c 8 -Q refresh,urgent,control`"]),
    "no_worker_on_queue (callbacks)": (no_callback_worker, ["`celery -A worker.app worker -P prefork -Q callback`"]),
    "queue_full": (queue_full, ["200 messages wait", "more workers"]),
    "overdue": (overdue, ["due for 12", "`refreshd status`"]),
    "lease_of_a_dead_worker": (dead_worker, ["gone@two", "ends by itself in"]),
    "interrupted": (interrupted, ["`refreshd refresh acct --force --wait`"]),
    "breaker_open": (breaker_open, ["acme is down for everybody", "status page"]),
    "rate_limited": (rate_limited, ["asked to be left alone", "requests_per_s"]),
    "provider_failing": (failing, ["`refreshd history acct`"]),
    "grant_revoked": (revoked, ['"Token has been revoked"', "`refreshd accounts authorize acct`"]),
    "refresh_token_rotated_by_somebody_else": (rotated_elsewhere, ["very first use", "Stop the other program"]),
    "client_refused": (secret_rotated, ["client secret was replaced", "client_secret=@FILE`"]),
    "dpop_nonce_fails": (nonce_in_vain, ["asked for its nonce", "DPoP-Nonce"]),
    "dpop_key_unfit": (key_forgotten, ["the account has none", "custom_fields.dpop_key=@FILE`"]),
    "wrong_token_url": (html, ["no token endpoint", "`refreshd accounts edit acct token_url=https://...`"]),
    "not_published": (redis_flushed, ["Redis has none", "`refreshd refresh acct --force --wait`"]),
    "not_published (older)": (redis_older, ["Redis has generation 1"]),
    "database_older_than_redis": (restored, ["`refreshd db restored`"]),
    "api_rejects_fresh_tokens": (permission_missing, ["Granted scopes: read.", "lost these scopes: write"]),
    "scopes_lost": (scopes_lost, ["lost these scopes: write. Left: read."]),
    "token_ends_before_it_is_due": (shorter_than_planned, ["about 900 s old", "session_timeout_s=720`"]),
}  # fmt: skip


@pytest.mark.parametrize("cause", CAUSES)
def test_the_cause_is_named_first_with_what_to_do(cause: str, desk: Desk) -> None:
    stage, words = CAUSES[cause]
    stage(desk)

    first, shown = desk.first()

    assert first == cause.partition(" ")[0], shown
    for part in words:
        assert part in shown, shown


# --- callbacks -----------------------------------------------------------------------------------------


def callback_unknown(desk: Desk) -> None:
    desk.bench.add(refresh_method="callback", callback="rotate")


def callback_broken(desk: Desk) -> None:
    desk.bench.add(refresh_method="callback", callback="acme")
    desk.offer(
        "callback@one", "keeps", problems={"acme_callback": "SyntaxError: '(' was never closed (acme.py:3)"}
    )


def callback_elsewhere(desk: Desk) -> None:
    desk.bench.add(refresh_method="callback", callback="acme")
    desk.offer("other@two", "acme")


def callback_hangs(desk: Desk) -> None:
    desk.bench.add(refresh_method="callback", callback="sleeps")
    desk.bench.refresh()


def callback_fails(desk: Desk) -> None:
    desk.bench.add(refresh_method="callback", callback="raises")
    desk.bench.refresh()


def callback_refuses(desk: Desk) -> None:
    desk.bench.add(refresh_method="callback", callback="refuses", generation=5)
    desk.bench.refresh(seen=5)


def callback_returns_a_useless_token(desk: Desk) -> None:
    desk.bench.add(refresh_method="callback", callback="keeps")
    desk.bench.refresh()
    desk.reported(times=4)


def callback_not_used(desk: Desk) -> None:
    desk.bench.add(callback="keeps", expires_at=time.time() - 3600)


CALLBACKS: dict[str, tuple[Callable[[Desk], None], list[str]]] = {
    "callback_not_registered": (callback_unknown, ["The nearest is 'rotates'", "`refreshd callbacks list`"]),
    "callback_not_registered (broken)": (callback_broken, ["'(' was never closed (acme.py:3)", "Mend that module"]),
    "callback_registered_elsewhere": (callback_elsewhere, ["known to other@two only", "REFRESHD_CALLBACK_MODULES"]),
    "callback_hanging": (callback_hangs, ["does not come to an end", "callbacks test sleeps --account acct`"]),
    "callback_failing": (callback_fails, ["it raised RuntimeError", "`refreshd callbacks test raises --account acct`"]),
    "grant_revoked": (callback_refuses, ["'refuses' returned an errorResponse", '"the user revoked it"']),
    "api_rejects_fresh_tokens": (callback_returns_a_useless_token, ["callbacks test keeps --account acct`: is it"]),
    "callback_not_used": (callback_not_used, ["the callback never runs", "edit acct refresh_method=callback`"]),
}  # fmt: skip


@pytest.mark.parametrize("cause", CALLBACKS)
def test_a_callback_that_is_the_cause_is_named_first(cause: str, wild: Desk) -> None:
    stage, words = CALLBACKS[cause]
    stage(wild)

    first, shown = wild.first()

    assert first == cause.partition(" ")[0], shown
    for part in words:
        assert part in shown, shown


def test_it_ran_by_hand_the_api_says_403_and_the_history_is_empty(desk: Desk) -> None:
    """The question that nobody ever answered."""
    desk.bench.add(refresh_method="callback", callback="acme", expires_at=time.time() - 7200)
    desk.workers = STANDARD

    first, shown = desk.first()

    assert first == "no_worker_on_queue"
    assert "Ended 2h ago" in shown
    assert "Nothing: no refresh was ever tried, and nobody asked for one." in shown
    assert "No worker takes from the queue `callback`, so nothing of this account is ever run." in shown


# --- stores, keys, clocks ------------------------------------------------------------------------------


def test_a_clock_that_is_wrong(desk: Desk) -> None:
    desk.good()
    cause, shown = desk.first(ahead_s=7.0)
    assert cause == "clock_skew"
    assert "clock is 7.0 s ahead of the database's" in shown
    assert "NTP" in shown


def test_a_key_that_is_missing_here(desk: Desk) -> None:
    desk.good()
    other = changed(desk.settings, {"keys": SecretStr(generate_key("other"))})
    cause, shown = desk.first(other)
    assert cause == "key_missing"
    assert "`refreshd keys check`" in shown


def test_a_key_that_a_worker_did_not_have(desk: Desk) -> None:
    desk.good()
    other = changed(desk.settings, {"keys": SecretStr(generate_key("other"))})
    elsewhere = Bench(other)
    try:
        elsewhere.refresh(seen=2, trigger=Trigger.FORCED)
    finally:
        elsewhere.runtime.close()
    cause, shown = desk.first()
    assert cause == "key_missing_on_a_worker"
    assert "open here, but not on the worker that tried last:" in shown


def test_redis_away(desk: Desk) -> None:
    desk.good()
    cause, shown = desk.first(changed(desk.settings, {"redis_url": SecretStr("redis://127.0.0.1:1/0")}))
    assert cause == "redis_unreachable"
    assert "REFRESHD_REDIS_URL" in shown


def test_a_connector_that_was_told_no_prefix_reads_another_token(desk: Desk) -> None:
    desk.good()
    cause, shown = desk.first(changed(desk.settings, {"redis_prefix": "second:"}))
    assert cause == "not_published"
    assert "under the prefix `refreshd:`, too (generation 2)" in shown
    assert "prefix='second:'" in shown


def test_a_sealed_token_needs_the_publish_key(desk: Desk) -> None:
    sealed = changed(desk.settings, {"publish_keys": SecretStr(generate_key("p1"))})
    made = Bench(sealed)
    made.add()
    made.answer = granted
    made.refresh()
    made.runtime.close()
    cause, shown = desk.first(sealed)
    assert cause == ""
    assert "sealed with the publish key `p1`" in shown


def test_a_database_that_takes_no_writes(desk: Desk, postgres_url: str) -> None:
    made = Bench(changed(desk.settings, {"database_url": SecretStr(postgres_url)}))
    made.add()
    with writing(made.runtime.engine) as connection:
        name = connection.execute(text("SELECT current_database()")).scalar_one()
        connection.execute(text(f"ALTER DATABASE {name} SET default_transaction_read_only = on"))
    made.runtime.close()
    cause, shown = desk.first(changed(desk.settings, {"database_url": SecretStr(postgres_url)}))
    assert cause == "database_read_only"
    assert "read-only" in shown
    assert "`refreshd doctor`" in shown


def test_an_answer_that_waits_in_redis_is_not_to_be_deleted(desk: Desk) -> None:
    desk.good()
    desk.bench.runtime.redis.set(Keys().stash("acct"), "sealed with what nobody has")
    cause, shown = desk.first()
    assert cause == "answer_in_stash"
    assert "Do not delete it" in shown


def test_an_id_in_another_case_is_guessed(desk: Desk) -> None:
    desk.bench.add("Acct")
    with pytest.raises(UnknownAccount, match="Did you mean 'Acct'"):
        desk.facts()


def test_a_shown_page_holds_no_secret(desk: Desk) -> None:
    desk.good(
        custom_fields_sealed=desk.bench.runtime.vault.seal("acct", "custom_fields", Secret('{"a": "hidden"}'))
    )
    _, shown = desk.first()
    assert not [word for word in ("new-access", "new-refresh", "client-secret", "hidden") if word in shown]
