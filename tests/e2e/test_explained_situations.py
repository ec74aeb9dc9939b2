"""Broken situations, built with real processes and stores: `refreshd explain` names the cause first and gives advice that works."""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import pytest
from sqlalchemy import text

from models.tables.account import fingerprint
from models.token import Secret
from tests.support.broken_accounts import ALL, BEAT, HOUR_S, STANDARD, Printed, Site, site
from tests.support.providers.grants import Fault, refresh_token
from tests.support.providers.scripted_provider import ScriptedProvider
from tests.support.services import PostgresServer
from tests.support.waiting import wait_until
from worker.crypto.cipher import generate_key
from worker.db.engine import writing
from worker.redis.clock_offsets import ClockOffsets

#: What a terminal that was just opened shows.
SCREEN_ROWS: Final = 24
NOTHING_WRONG: Final = "Nothing is wrong"


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """How a situation is built, and what has to be printed of the account `ID`.

    Args:
        build: builds it.
        first: pattern of the first finding, from its beginning.
        advice: what its advice holds.
        code: the exit code.
        members: what runs of the fleet.
        variables: of the environment of the command, where it is not the workers'.
        typed: the advised command, with values in the place of its capitals; it has to end with 0.
    """

    build: Callable[[Site, str], None]
    first: str
    advice: str
    code: int = 1
    members: frozenset[str] = ALL
    variables: Callable[[Site], dict[str, str]] = field(default=lambda _: {})
    typed: str | None = None


# --- the provider's own words ---------------------------------------------------------------------------


def revoked(at: Site, name: str) -> None:
    at.refused(
        name, 400, {"error": "invalid_grant", "error_description": "Token has been revoked"}, ended=True
    )


def used_before(at: Site, name: str) -> None:
    at.refused(name, 400, {"error": "invalid_grant", "error_description": "token reuse detected"}, ended=True)


def refused_without_a_word(at: Site, name: str) -> None:
    at.account(name)
    at.answers(name, 400, {"error": "invalid_grant"})
    at.refreshed(name)


def paused_for_hours(at: Site, name: str) -> None:
    at.refused(name, 429, {}, ended=True, headers={"Retry_After": "7200"}, client_id="throttled")


def unavailable(at: Site, name: str) -> None:
    at.refused(name, 503, {}, ended=True)


def probably_dead(at: Site, name: str) -> None:
    at.refused(
        name, 500, {"error": "server_error", "error_description": "Token refresh failed: 400"}, ended=True
    )
    for _ in range(4):
        at.refreshed(name, generation=2)


def secret_replaced(at: Site, name: str) -> None:
    at.refused(name, 401, {"error": "invalid_client"}, client_id="replaced")


def client_secret_ended(at: Site, name: str) -> None:
    ended = "2026-11-01T00:00:00Z"
    done = at.command(
        "clients", "add", "corp", "--client-id", "corp", "--client-secret", "old",
        "--provider", "scripted", "--token-url", at.provider.token_url,
        "--client-secret-expires-at", ended,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    at.refused(
        name, 401, {"error": "invalid_client"}, client="corp", client_id=None, client_secret_sealed=None
    )


def wrong_token_url(at: Site, name: str) -> None:
    at.account(name, ended=True, token_url=at.provider.token_url.replace("/token", "/oauth/tokens"))
    at.refreshed(name)


def scope_lost(at: Site, name: str) -> None:
    at.account(name, scope="read write")
    at.answers(name, 200, {"access_token": "new", "expires_in": 3600, "scope": "read"})
    at.refreshed(name)


def lacks_refresh_token(at: Site, name: str) -> None:
    at.account(name, ended=True, refresh_token_sealed=None, refresh_fp=None, refresh_enabled=False)
    at.execute(
        "UPDATE account SET status = 'disabled', next_refresh_at = NULL, plan_at = NULL WHERE id = :id",
        id=name,
    )


def twins(at: Site, name: str) -> None:
    shared = Secret(refresh_token(name, 0))
    fields: dict[str, Any] = {"refresh_fp": fingerprint(shared), "source_fp": fingerprint(shared)}
    at.account(name, **fields)
    at.account("twin", refresh_token_sealed=at.seal("twin", "refresh_token", shared.reveal()), **fields)
    at.refreshed("twin")
    at.refreshed(name)


def held_by_a_gate(at: Site, name: str) -> None:
    with ScriptedProvider(latency_s=0.0) as provider:
        provider.script = lambda _: Fault.UNAVAILABLE
        usual, at.world.provider = at.world.provider, provider
        try:
            for one in (name, "held-2", "held-3", "held-4"):
                at.account(one, ended=True, succeeded_at=1.0, next_refresh_at=1.0, plan_at=1.0)
            wait_until(lambda: at.world.account(name).held_by is not None, "a gate holds the account")
        finally:
            at.world.provider = usual


# --- callbacks ------------------------------------------------------------------------------------------


def callback(runs: str, *, times: int = 1) -> Callable[[Site, str], None]:
    def build(at: Site, name: str) -> None:
        at.account(name, ended=True, refresh_method="callback", callback=runs)
        for _ in range(times):
            at.refreshed(name, queue="callback")

    return build


def callback_not_used(at: Site, name: str) -> None:
    at.account(name, ended=True, callback="works")


# --- the account's own settings -------------------------------------------------------------------------


def paused(at: Site, name: str) -> None:
    at.account(name, ended=True)
    assert at.command("pause", name, "--reason", "deploy").returncode == 0


def fixed_too_long(at: Site, name: str) -> None:
    at.account(name, session_management="fixed", session_timeout_s=86_400.0)


def imported_dead(at: Site, name: str) -> None:
    at.account(name)
    at.published(name)


def imported_in_milliseconds(at: Site, name: str) -> None:
    now = at.world.stores.clock.now()
    at.account(name, issued_at=now - 4 * HOUR_S, expires_at=now - 4 * HOUR_S + 3_600_000)
    at.published(name)


def sealed_with_another_key(at: Site, name: str) -> None:
    fields = [
        "provider=acme",
        f"token_url={at.provider.token_url}",
        "client_id=c",
        "client_secret=s",
        "refresh_token=r",
    ]
    done = at.command("accounts", "add", name, *fields, REFRESHD_KEYS=generate_key("second"))
    assert done.returncode == 0, done.stderr
    at.refreshed(name, generation=0)


# --- tokens that the API refuses ------------------------------------------------------------------------


def reported(at: Site, name: str, *, apart_s: float) -> None:
    at.account(name, scope="read")
    at.refreshed(name)
    for generation in (2, 3, 4, 5):
        aged = "UPDATE {} SET {} = {} - :s WHERE {} = :id"
        at.execute(aged.format("attempt", "opened_at", "opened_at", "account_id"), s=apart_s, id=name)
        at.execute(aged.format("account", "issued_at", "issued_at", "id"), s=apart_s, id=name)
        before = len(at.closed(name))
        at.world.push([(name, generation)], reason="reported")
        wait_until(lambda seen=before: len(at.closed(name)) > seen, "a report's refresh")  # type: ignore[misc]


def permission_missing(at: Site, name: str) -> None:
    reported(at, name, apart_s=20)


def short_lived(at: Site, name: str) -> None:
    reported(at, name, apart_s=60)


# --- stores, keys, clocks, processes --------------------------------------------------------------------


def gone_from_redis(at: Site, name: str) -> None:
    at.account(name)
    at.refreshed(name)
    at.published(name)
    at.forget(name)


def lost_a_part(at: Site, name: str) -> None:
    names = [name, "lost-2", "lost-3"]
    for one in names:
        at.account(one)
        at.refreshed(one)
        at.published(one)
    at.world.stores.redis.delete(*(at.world.stores.keys.token(one) for one in names))
    # As after a failover: the server that is found is not the one that was compared last.
    at.execute(
        'UPDATE duty SET until = 0, note = \'{"server": {"id": "another"}}\' WHERE name = \'comparison\''
    )
    wait_until(lambda: all(at.world.is_published(one) for one in names), "Redis has them again")


def killed_worker(at: Site, name: str) -> None:
    at.account(name, ended=True)
    at.provider.script = lambda grant: Fault.SILENT if grant.account == name else None
    doomed = at.worker("doomed", "doomed").wait_ready()
    at.world.push([(name, 1)], queue="doomed")
    wait_until(lambda: at.provider.under_way == [name], "the call is under way")
    doomed.kill()


def back_under_its_name(at: Site, name: str) -> None:
    killed_worker(at, name)
    at.worker("doomed", "doomed").wait_ready()
    at.execute("UPDATE attempt SET opened_at = opened_at - 60 WHERE account_id = :id", id=name)


def clock_ahead(at: Site, name: str) -> None:
    at.account(name)
    at.refreshed(name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("worker.redis.clock_offsets.wall_clock", lambda: time.time() + 480)
        ClockOffsets(at.world.stores.redis, "refreshd:").note("worker@elsewhere")


def good(at: Site, name: str) -> None:
    at.account(name)
    at.refreshed(name)


def overdue(at: Site, name: str) -> None:
    at.account(name, ended=True)
    at.execute("UPDATE duty SET finished_at = finished_at - 3600 WHERE name = 'plan'")


def known_to_a_killed_worker(at: Site, name: str) -> None:
    at.account(name, ended=True, refresh_method="callback", callback="works")
    at.worker("without", "callback", callback_modules="").wait_ready()


def callback_waits(at: Site, name: str) -> None:
    at.account(name, ended=True, refresh_method="callback", callback="works")


def read_only_database(at: Site, name: str) -> None:
    with at.on_postgresql() as world:
        world.add([name])
        with writing(world.stores.engine) as connection:
            database = connection.execute(text("SELECT current_database()")).scalar_one()
            connection.execute(text(f"ALTER DATABASE {database} SET default_transaction_read_only = on"))


SITUATIONS: Final[dict[str, Situation]] = {
    "revoked": Situation(build=revoked, first=r'The grant was ended .*as the provider says\. It said: "Token has been revoked"', advice="refreshd accounts authorize ID"),
    "used-before": Situation(build=used_before, first=r'The provider says that the refresh token was used before\. It said: "token reuse detected"', advice="Stop the other program first"),
    "refused-at-first-use": Situation(build=refused_without_a_word, first="The refresh token was refused at its very first use here, and the provider does not say why", advice="refreshd accounts authorize ID"),
    "probably-dead": Situation(build=probably_dead, first=r"The grant is probably dead: .*\(HTTP 500\)", advice="refreshd accounts authorize ID"),
    "told-to-wait-two-hours": Situation(build=paused_for_hours, first=r"The provider asked to be left alone .*Readers have no token: the last one ended 1h.*The next try is due in (?:2h|1h 5\dm)", advice="refreshd refresh ID --force --wait"),
    "unavailable": Situation(build=unavailable, first=r"The last (?:\d )?tr(?:y|ies) failed: .*Readers have no token: the last one ended 1h", advice="refreshd history ID"),
    "secret-replaced": Situation(build=secret_replaced, first="The provider refuses the client, not the grant: .*Probably its client secret was replaced, or has ended", advice="refreshd accounts edit ID client_secret=@FILE", typed="accounts edit ID client_secret=new"),
    "client-secret-ended": Situation(build=client_secret_ended, first=r"The provider refuses the client, not the grant: .*The secret of its client corp ended \d+d", advice="refreshd clients edit corp client_secret=@FILE", typed="clients edit corp client_secret=new"),
    "wrong-token-url": Situation(build=wrong_token_url, first=r"What answers is no token endpoint \(HTTP 404\)", advice="refreshd accounts edit ID token_url=https://...", typed="accounts edit ID token_url=https://right.example/token"),
    "scope-lost": Situation(build=scope_lost, first=r"A refresh lost these scopes: write\. Left: read", advice="refreshd accounts authorize ID scope=...", code=0),
    "twins": Situation(build=twins, first=r"It has the refresh token of another account of the same client, .*: twin \(active\)", advice="refreshd accounts authorize ID", typed="accounts disable ID"),
    "held-by-a-gate": Situation(build=held_by_a_gate, first=r"A gate holds this account and \d others?\. .*Readers have no token", advice="refreshd refresh ID --force"),
    "callback-password-changed": Situation(build=callback("password-changed"), first="The grant's owner changed the password, as the callback 'password-changed' says", advice="refreshd accounts authorize ID"),
    "callback-denied": Situation(build=callback("denied"), first="The callback 'denied' returned an errorResponse.*It said: \"access_denied: the resource owner is suspended\"", advice="refreshd callbacks test denied --account ID"),
    "callback-busy": Situation(build=callback("busy", times=5), first="The callback 'busy' returned an errorResponse 5 times in a row.*It said: \"backend_busy: try later\"", advice="refreshd callbacks test busy --account ID"),
    "callback-hangs": Situation(build=callback("hangs"), first="The callback 'hangs' does not come to an end", advice="refreshd callbacks test hangs --account ID"),
    "callback-raises": Situation(build=callback("raises"), first="The callback 'raises' ran and failed.*: it raised RuntimeError", advice="refreshd callbacks test raises --account ID"),
    "callback-unknown": Situation(build=callback("work"), first="No running worker knows.*'work'.*The nearest is 'works'", advice="refreshd accounts edit ID callback=works", typed="accounts edit ID callback=works"),
    "callback-not-used": Situation(build=callback_not_used, first="The account names the callback 'works', but its refresh method is `body`", advice="refreshd accounts edit ID refresh_method=callback", typed="accounts edit ID refresh_method=callback"),
    "disabled-and-lacking": Situation(build=lacks_refresh_token, first="Refreshing is switched off", advice="Store a refresh token first"),
    "paused": Situation(build=paused, first="Planned refreshes of account paused were paused .*: deploy", advice="refreshd resume ID", typed="resume ID"),
    "fixed-too-long": Situation(build=fixed_too_long, first="`fixed` refreshes it every 86400 s, but the provider's tokens live 7200 s", advice="refreshd accounts edit ID session_management=auto", typed="accounts edit ID session_management=auto"),
    "imported-and-untried": Situation(build=imported_dead, first="Whether its token works is unknown: it is as it was given", advice="refreshd refresh ID --force --wait", code=0, typed="refresh ID --force --wait"),
    "imported-in-milliseconds": Situation(build=imported_in_milliseconds, first="Its token was imported with a life of 41", advice="refreshd refresh ID --force --wait", typed="refresh ID --force --wait"),
    "sealed-with-another-key": Situation(build=sealed_with_another_key, first="A secret of this account does not open", advice="refreshd keys check"),
    "permission-missing": Situation(build=permission_missing, first="Connectors report that the API rejects tokens that are fresh", advice="A new consent grants more scopes"),
    "lives-a-minute": Situation(build=short_lived, first="The API rejected its tokens when they were about 6", advice="refreshd accounts edit ID session_management=fixed session_timeout_s=4", typed="accounts edit ID session_management=fixed session_timeout_s=48"),
    "gone-from-redis": Situation(build=gone_from_redis, first="The database has a good token .*Redis has none.*Redis has lost it since", advice="refreshd refresh ID --force --wait", typed="refresh ID --force --wait"),
    "redis-lost-a-part": Situation(build=lost_a_part, first=r"\d+s ago Redis lacked what was published of \d accounts, this one among them: Redis was restarted, or another server", advice="refreshd doctor", code=0),
    "clock-ahead": Situation(build=clock_ahead, first="The clock of worker@elsewhere is 8m ahead", advice="timedatectl", code=0),
    "killed-worker": Situation(build=killed_worker, first="A refresh was under way on doomed@acceptance, which does not answer", advice="Nothing calls before"),
    "worker-back-under-its-name": Situation(build=back_under_its_name, first="A refresh has been under way for .* on doomed@acceptance", advice="Nothing calls before"),
    "another-redis": Situation(build=good, first=r"Generation \d was published, and the Redis that is looked at here .* has never heard of this account", advice="REFRESHD_REDIS_URL", variables=lambda at: {"REFRESHD_REDIS_URL": at.redis.url_of(5)}),
    "wrong-password": Situation(build=good, first="Redis answers, and refuses what is asked of it", advice="REFRESHD_REDIS_URL", variables=lambda at: {"REFRESHD_REDIS_URL": f"redis://:wrong@127.0.0.1:{at.redis.port}/0"}),
    "redis-away": Situation(build=good, first="Redis does not answer", advice="REFRESHD_REDIS_URL", variables=lambda _: {"REFRESHD_REDIS_URL": "redis://127.0.0.1:1/0"}),
    "callback-of-a-killed-worker": Situation(build=known_to_a_killed_worker, first=r"The callback 'works' is known to callbacks@acceptance only \(which does not answer", advice="REFRESHD_CALLBACK_MODULES", members=frozenset({STANDARD, BEAT})),
    "no-callback-worker": Situation(build=callback_waits, first="No worker takes from the queue `callback`", advice="-Q callback", members=frozenset({STANDARD, BEAT})),
    "read-only-database": Situation(build=read_only_database, first="The database can be read but not written", advice="point REFRESHD_DATABASE_URL to the primary", variables=lambda at: {"REFRESHD_DATABASE_URL": at.postgres_url}, members=frozenset({STANDARD, BEAT})),
    "no-beat": Situation(build=overdue, first="Nothing is planned: the last plan ended 1h", advice="refreshd doctor", members=frozenset({STANDARD})),
}  # fmt: skip


@pytest.fixture(scope="module")
def at(
    tmp_path_factory: pytest.TempPathFactory, postgres_service: PostgresServer, postgres_template: str
) -> Iterator[Site]:
    url = postgres_service.create_database("explained", template=postgres_template)
    with site(tmp_path_factory.mktemp("site"), url) as made:
        yield made


@pytest.mark.parametrize("name", SITUATIONS)
def test_the_cause_is_named_first_with_advice(name: str, at: Site) -> None:
    situation = SITUATIONS[name]
    at.running(situation.members)
    situation.build(at, name)

    printed = at.explained(name, **situation.variables(at))

    first, hint = first_finding(printed)
    assert re.match(situation.first, first), printed.page
    assert situation.advice.replace("ID", name) in hint, printed.page
    assert printed.code == situation.code, printed.page
    assert len(printed.lines) <= SCREEN_ROWS, printed.page
    assert NOTHING_WRONG not in printed.page
    if situation.typed is not None:
        done = at.command(*shlex.split(situation.typed.replace("ID", name)))
        assert done.returncode == 0, done.stdout + done.stderr


def first_finding(printed: Printed) -> tuple[str, str]:
    """Return the message and the advice of the first finding."""
    found = re.search(r" 1\. (.*?) -> (.*?)(?= 2\. | Worth knowing | Token )", printed.text)
    assert found, printed.page
    return found[1], found[2]
