"""Registrations are renewed before their secret ends, and made again where the server has forgotten them, once in the fleet."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import text

from models.tables.account import Status
from models.tables.client import Client
from tests.integration.conftest import Bench
from tests.integration.connect.mcp_world import ISSUER, McpWorld
from tests.integration.issuers.conftest import aged
from worker.db.engine import writing
from worker.db.fleet_locks import FleetLock
from worker.db.intake.issuers import Issuers, Registrations
from worker.db.intake.registration_failures import LOCK, failures_of
from worker.diagnostics.explain.facts import Finding
from worker.diagnostics.explain.gather import gather
from worker.diagnostics.explain.rules.registration import metadata, registration
from worker.intake.registrations import FORGOTTEN_AFTER_S
from worker.intake.upkeep import READ_AGAIN_S, UNASKED_AFTER_S, is_renewed_now, keep_up

DAY_S = 86_400.0
MANAGED = {"registration_client_uri": f"{ISSUER}/clients/1", "registration_access_token": "marker-token"}


on_both = pytest.mark.parametrize("database_url", ["sqlite_url", "postgres_url"], indirect=True)


@pytest.fixture
def database_url(request: pytest.FixtureRequest) -> str:
    """SQLite, or what a test names."""
    url: str = request.getfixturevalue(getattr(request, "param", "sqlite_url"))
    return url


def client_of(bench: Bench) -> Client:
    return bench.runtime.clients.find(["as.example.com"])["as.example.com"]


def secret_of(bench: Bench) -> str | None:
    found = bench.runtime.sealer.client_secret(client_of(bench))
    return None if found is None else found.reveal()


def refused(bench: Bench, *, ago_s: float) -> None:
    """Add an account whose client the server refuses since a while."""
    now = bench.runtime.clock.now()
    bench.add(
        *("acct",),
        provider="issuer",
        client="as.example.com",
        client_secret_sealed=None,
        token_url=None,
        knobs=f'{{"issuer": "{ISSUER}"}}',
        scope="tools",
        issued_at=now - ago_s - 60,
        status=Status.MISCONFIGURED,
        reason="invalid_client",
        failed_at=now - ago_s,
        next_refresh_at=None,
        plan_at=None,
    )


def explained(bench: Bench) -> list[Finding]:
    facts = gather(bench.runtime, "acct", workers=dict)
    return list(registration(facts))


def acts(bench: Bench) -> list[tuple[str, str]]:
    found = bench.runtime.audit.latest(limit=100)
    return [(one.actor, one.action) for one in reversed(found) if one.actor.startswith("refreshd")]


def failures(bench: Bench) -> dict[str, str]:
    lock = FleetLock(bench.runtime.engine, LOCK, holder="test", ttl_s=1)
    return {name: one.reason for name, one in failures_of(lock.note()).items()}


def test_secret_that_ends_soon_is_renewed_and_its_accounts_use_the_new_one(
    bench: Bench, world: McpWorld, registered: Callable[..., Client]
) -> None:
    now = bench.runtime.clock.now()
    before = registered(client_secret_expires_at=now + 3 * DAY_S, **MANAGED)
    world.manage(**MANAGED, client_secret_expires_at=now + 90 * DAY_S)

    assert keep_up(bench.runtime)["renewed"] == 1

    after = client_of(bench)
    assert after.client_id == before.client_id == "client-1"
    assert after.secret_expires_at == pytest.approx(now + 90 * DAY_S)
    assert secret_of(bench) == "marker-put-1"
    [put] = world.put
    assert "registration_access_token" not in put
    assert acts(bench) == [("refreshd (registrations)", "client_edit")]
    assert keep_up(bench.runtime)["renewed"] == 0


@on_both
def test_registration_is_renewed_once_by_several_workers(
    bench: Bench, world: McpWorld, registered: Callable[..., Client]
) -> None:
    now = bench.runtime.clock.now()
    registered(client_secret_expires_at=now + DAY_S, **MANAGED)
    world.manage(**MANAGED, client_secret_expires_at=now + 90 * DAY_S)
    with ThreadPoolExecutor(3) as threads:
        done = list(threads.map(lambda _: keep_up(bench.runtime), range(3)))

    assert sum(one.get("renewed", 0) for one in done) == 1
    assert len(world.put) == 1


def test_secret_that_lives_for_days_is_renewed_at_half_of_its_life(
    bench: Bench, world: McpWorld, registered: Callable[..., Client]
) -> None:
    now = bench.runtime.clock.now()
    registered(client_secret_expires_at=now + DAY_S, **MANAGED)
    world.manage(**MANAGED, client_secret_expires_at=now + 5 * DAY_S)

    assert [keep_up(bench.runtime)["renewed"] for _ in range(3)] == [1, 0, 0]

    fresh = client_of(bench)
    assert not is_renewed_now(fresh, now=now + 2 * DAY_S)
    assert is_renewed_now(fresh, now=now + 2.6 * DAY_S)


def test_secret_that_ends_later_or_can_t_be_renewed_is_left_alone(
    bench: Bench, world: McpWorld, registered: Callable[..., Client]
) -> None:
    registered(client_secret_expires_at=bench.runtime.clock.now() + 3 * DAY_S)
    assert keep_up(bench.runtime)["renewed"] == 0
    assert world.put == []


@pytest.mark.parametrize("forgotten", [True, False])
def test_server_that_does_not_renew_is_asked_again_an_hour_later_and_explained(
    bench: Bench, world: McpWorld, registered: Callable[..., Client], *, forgotten: bool
) -> None:
    end = bench.runtime.clock.now() + DAY_S
    registered(client_secret_expires_at=end, **MANAGED)
    if not forgotten:  # it answers, and the secret ends as before
        world.manage(**MANAGED, client_secret_expires_at=end)

    keep_up(bench.runtime)
    keep_up(bench.runtime)

    reason = "registration_refused" if forgotten else "registration_expired"
    assert failures(bench) == {"as.example.com": reason}
    bench.add("acct", client="as.example.com")
    [found] = [one for one in explained(bench) if one.cause == "registration_expired"]
    assert f"[{reason}]" in found.message
    assert world.asked[f"GET {ISSUER}/clients/1"] == 1


@on_both
def test_registration_that_the_server_forgot_is_made_again_and_its_accounts_wake(
    bench: Bench, world: McpWorld, registered: Callable[..., Client]
) -> None:
    registered(**MANAGED)
    aged(bench, "client_registration", "registered_at", 2 * DAY_S)
    refused(bench, ago_s=FORGOTTEN_AFTER_S + 60)

    assert keep_up(bench.runtime)["registered"] == 1

    client, account = client_of(bench), bench.account()
    assert (client.client_id, account.client_id) == ("client-2", "client-2")
    assert world.registrations[1]["redirect_uris"] == world.registrations[0]["redirect_uris"]
    assert world.registrations[1]["scope"] == "tools"
    assert (account.status, account.refresh_token_sealed is None) == (Status.ACTIVE, False)
    with writing(bench.runtime.engine) as connection:
        connection.execute(text("UPDATE account SET status = 'reauthorize', reason = 'invalid_grant'"))
    [found] = explained(bench)
    assert found.cause == "registration_forgotten"
    assert "accounts authorize acct" in found.hint
    assert acts(bench) == [("refreshd (registrations)", "client_edit")]


def test_refused_client_that_the_server_knows_gets_the_secret_of_its_registration(
    bench: Bench, world: McpWorld, registered: Callable[..., Client]
) -> None:
    registered(**MANAGED)
    refused(bench, ago_s=60)
    world.manage(**MANAGED)

    assert keep_up(bench.runtime)["registered"] == 0

    assert (client_of(bench).client_id, secret_of(bench)) == ("client-1", "marker-put-1")
    assert bench.account().status == Status.ACTIVE


def test_refused_client_that_the_server_knows_as_it_is_stored_is_asked_after_once_an_hour(
    bench: Bench, world: McpWorld, registered: Callable[..., Client]
) -> None:
    registered(**MANAGED)
    refused(bench, ago_s=60)
    world.rotates_secret = False
    world.manage(**MANAGED, client_secret="marker-registered")

    keep_up(bench.runtime)
    keep_up(bench.runtime)

    assert len(world.put) == 1
    assert failures(bench) == {"as.example.com": "registration_refused"}
    with writing(bench.runtime.engine) as connection:
        connection.execute(text("UPDATE account SET status = 'active', reason = NULL"))
    keep_up(bench.runtime)
    assert failures(bench) == {}


@pytest.mark.parametrize(
    ("managed", "ago_s", "again"),
    [
        (MANAGED, 60, 0),
        (MANAGED, FORGOTTEN_AFTER_S + 60, 1),
        ({}, FORGOTTEN_AFTER_S + 60, 0),
        ({}, UNASKED_AFTER_S + 60, 1),
    ],
)
def test_server_that_may_have_its_clients_back_soon_is_waited_for(
    bench: Bench,
    world: McpWorld,
    registered: Callable[..., Client],
    managed: dict[str, str],
    ago_s: float,
    again: int,
) -> None:
    """Another registration ends the grants of the first: an hour where the server says so itself, else a day."""
    registered(**managed)
    aged(bench, "client_registration", "registered_at", 2 * DAY_S)
    refused(bench, ago_s=ago_s)

    assert keep_up(bench.runtime)["registered"] == again
    assert len(world.registrations) == 1 + again
    assert (client_of(bench).client_id == "client-1") is not bool(again)


@pytest.mark.parametrize(("ago_s", "new"), [(60, False), (FORGOTTEN_AFTER_S + 60, True)])
def test_new_account_gets_a_client_that_works_while_an_older_one_is_refused(
    bench: Bench, registered: Callable[..., Client], ago_s: float, *, new: bool
) -> None:
    before = registered()
    refused(bench, ago_s=ago_s)
    assert (registered().name != before.name) is new
    assert client_of(bench).client_id == "client-1"


def test_client_that_another_account_is_refreshed_with_is_not_forgotten(
    bench: Bench, world: McpWorld, registered: Callable[..., Client]
) -> None:
    registered()
    aged(bench, "client_registration", "registered_at", 2 * DAY_S)
    refused(bench, ago_s=2 * UNASKED_AFTER_S)
    bench.add(
        "fine", client="as.example.com", issued_at=bench.runtime.clock.now() - 10, refresh_token="other"
    )

    keep_up(bench.runtime)
    assert len(world.registrations) == 1


def test_client_that_is_refused_soon_after_it_was_made_again_is_left_alone(
    bench: Bench, world: McpWorld, registered: Callable[..., Client]
) -> None:
    registered()
    refused(bench, ago_s=2 * UNASKED_AFTER_S)

    keep_up(bench.runtime)
    assert len(world.registrations) == 1
    assert failures(bench) == {"as.example.com": "registration_refused"}


@on_both
def test_metadata_are_read_again_by_their_age_and_never_followed_to_another_host(
    bench: Bench, world: McpWorld, registered: Callable[..., Client]
) -> None:
    registered()
    assert keep_up(bench.runtime)["read"] == 0
    aged(bench, "issuer_metadata", "asked_at", READ_AGAIN_S + 60)
    world.server["revocation_endpoint"] = f"{ISSUER}/revoke"

    assert keep_up(bench.runtime)["read"] == 1
    provider = bench.runtime.issuer_providers(ISSUER)
    assert provider is not None
    assert provider.revocation_url == f"{ISSUER}/revoke"

    aged(bench, "issuer_metadata", "asked_at", READ_AGAIN_S + 60)
    world.server["token_endpoint"] = "https://evil.example/token"
    assert keep_up(bench.runtime)["read"] == 0
    row = Issuers(bench.runtime.engine).find(ISSUER)
    assert row is not None
    assert row.failure == "endpoint_moved"
    assert "evil" not in (row.document or "")
    refused(bench, ago_s=60)
    [found] = metadata(gather(bench.runtime, "acct", workers=dict))
    assert found.cause == "endpoint_moved"
    assert "evil.example" in found.message
    assert "discover ISSUER --keep" in found.hint
    assert Registrations(bench.runtime.engine).find("as.example.com") is not None
