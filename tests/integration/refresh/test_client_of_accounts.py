"""Accounts that name a client are refreshed with its id, secret and way of authentication, read once for a group."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs

import httpx
import pytest
from sqlalchemy import event, text

from models.tables.account import Status
from models.tables.attempt import Outcome
from tests.integration.conftest import Bench
from tests.integration.refresh.test_refresher import granted
from worker.callbacks.host.inputs import inputs_of
from worker.db.accounts.of_client import ClientAccounts
from worker.db.engine import writing
from worker.diagnostics.doctor.clients import check_client_secrets
from worker.diagnostics.doctor.result import Level
from worker.diagnostics.explain.gather import gather
from worker.diagnostics.explain.rules import diagnose
from worker.policy.gates import EVIDENCE
from worker.policy.reasons.correction import CLIENT_UNKNOWN, INVALID_CLIENT, SEAL_BROKEN

OF_CRM: dict[str, Any] = {"client": "crm", "client_id": "id-of-crm", "client_secret_sealed": None}


@contextmanager
def statements(bench: Bench, about: str) -> Iterator[list[str]]:
    """Collect the statements that read a table."""
    seen: list[str] = []

    def note(*given: Any) -> None:
        if about in given[2]:
            seen.append(given[2])

    event.listen(bench.runtime.engine, "before_cursor_execute", note)
    yield seen
    event.remove(bench.runtime.engine, "before_cursor_execute", note)


def sent(request: httpx.Request) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(request.content.decode()).items()}


def test_a_refresh_is_made_with_the_clients_id_and_secret(bench: Bench) -> None:
    bench.add_client("crm")
    bench.add(**OF_CRM)
    bench.answer = granted

    assert bench.refresh()["acct"].outcome is Outcome.REFRESHED

    (request,) = bench.requests
    form = sent(request)
    assert (form["client_id"], form["client_secret"]) == ("id-of-crm", "clients-secret")


def test_the_clients_way_of_authentication_is_used(bench: Bench) -> None:
    bench.add_client("crm", client_auth="basic")
    bench.add(**OF_CRM)
    bench.answer = granted
    bench.refresh()
    (request,) = bench.requests
    pair = base64.b64encode(b"id-of-crm:clients-secret").decode()
    assert request.headers["authorization"] == f"Basic {pair}"


def test_a_callback_gets_them_as_consumer_id_and_secret(bench: Bench) -> None:
    bench.add_client("crm")
    account = bench.add(**OF_CRM, refresh_method="callback", callback="mine")
    provider = bench.runtime.providers.of(account)
    assert provider is not None
    client = bench.runtime.clients.of(account)
    given = inputs_of(bench.runtime.sealer.request(account, provider, client=client), now=0)
    assert (given.consumer_id, given.consumer_secret) == ("id-of-crm", "clients-secret")


def test_one_statement_reads_the_clients_of_a_group_and_none_where_no_account_names_one(bench: Bench) -> None:
    bench.add_client("crm")
    bench.add_client("erp")
    for number in range(6):
        bench.add(f"named-{number}", **{**OF_CRM, "client": "crm" if number % 2 else "erp"})
        bench.add(f"own-{number}")
    bench.answer = granted

    with statements(bench, "FROM client") as read:
        bench.refresh(*(f"named-{number}" for number in range(6)), *(f"own-{number}" for number in range(6)))
    assert len(read) == 1
    with statements(bench, "FROM client") as read:
        bench.refresh(*(f"own-{number}" for number in range(6)), seen=2)
    assert read == []


def test_an_account_whose_client_is_not_stored_is_misconfigured_and_its_neighbours_are_refreshed(
    bench: Bench,
) -> None:
    bench.add(**OF_CRM)
    bench.add("other")
    bench.answer = granted

    results = bench.refresh("acct", "other")

    assert (results["acct"].outcome, results["acct"].reason) == (Outcome.MISCONFIGURED, CLIENT_UNKNOWN)
    assert results["other"].outcome is Outcome.REFRESHED
    causes = [one.cause for one in diagnose(gather(bench.runtime, "acct", workers=dict))]
    assert CLIENT_UNKNOWN in causes


def test_a_secret_of_a_client_does_not_open_as_another_clients_or_an_accounts(bench: Bench) -> None:
    sealer = bench.runtime.sealer
    bench.add_client("crm")
    stolen = bench.runtime.clients.find(["crm"])["crm"].client_secret_sealed
    bench.add_client("erp", client_secret_sealed=stolen)
    bench.add("acct", client="erp")
    bench.add("crm", client_secret_sealed=stolen)

    results = bench.refresh("acct", "crm")

    assert {one.reason for one in results.values()} == {SEAL_BROKEN}
    assert bench.requests == []
    assert sealer.client_secret(bench.runtime.clients.find(["crm"])["crm"]) is not None


def test_a_refused_client_closes_one_gate_for_its_accounts_and_explain_says_what_to_edit(
    bench: Bench,
) -> None:
    bench.add_client("crm")
    now = bench.runtime.clock.now()
    for number in range(EVIDENCE):
        bench.add(f"a{number}", succeeded_at=now, **OF_CRM)
    bench.answer = lambda _: httpx.Response(401, json={"error": "invalid_client"})

    bench.refresh(*(f"a{number}" for number in range(EVIDENCE)))

    row = bench.account("a0")
    assert (row.status, row.reason) == (Status.MISCONFIGURED, INVALID_CLIENT)
    assert any(bench.account(f"a{number}").held_by for number in range(EVIDENCE))
    entries: Any = bench.runtime.redis.xrange(bench.runtime.keys.events)
    told = [fields for _, fields in entries]
    assert [one["client"] for one in told if "client" in one] == ["id-of-crm"]
    remedies = [one.hint for one in diagnose(gather(bench.runtime, "a0", workers=dict))]
    assert any("refreshd clients edit crm client_secret=@FILE" in remedy for remedy in remedies)


def test_a_change_that_was_interrupted_is_finished_page_by_page(bench: Bench) -> None:
    bench.add_client("crm", client_id="id-2", token_url="https://new.example/token", wake_after="")
    stopped = {"status": "misconfigured", "reason": INVALID_CLIENT, "failed_at": 5.0, "failures": 2}
    for number in range(5):
        bench.add(f"a{number}", **OF_CRM, **stopped, next_refresh_at=9e9, plan_at=9e9, token_url=None)
    bench.add("held", **OF_CRM, held_by="https://x|client:y", plan_at=9e9)
    bench.add("own", **stopped)
    changes = bench.runtime.client_changes()
    changes._of_client = ClientAccounts(bench.runtime.engine, page=2)

    done = changes.finish()

    assert (done.accounts, done.woken) == (6, 6)
    rows = [bench.account(f"a{number}") for number in range(5)]
    assert {(one.client_id, one.token_url, one.status, one.failures) for one in rows} == {
        ("id-2", "https://new.example/token", "active", 0)
    }
    assert len({one.plan_at for one in rows}) == 5  # each has a turn of its own
    held = bench.account("held")
    assert (held.held_by, held.token_url) == (None, "https://provider.example/token")
    assert bench.account("own").status == Status.MISCONFIGURED
    assert (changes.finish().accounts, bench.runtime.clients.find(["crm"])["crm"].wake_after) == (0, None)


def test_an_answer_to_the_old_secret_is_no_failure_of_the_new_configuration(bench: Bench) -> None:
    bench.add_client("crm")
    bench.add(**OF_CRM)

    def answer(_: httpx.Request) -> httpx.Response:
        with writing(bench.runtime.engine) as connection:
            connection.execute(text("UPDATE client SET wake_after = '', version = version + 1"))
        bench.runtime.client_changes().finish()
        return httpx.Response(401, json={"error": "invalid_client"})

    bench.answer = answer
    bench.refresh()
    row = bench.account()
    assert (row.status, row.failures) == (Status.ACTIVE, 0)


def test_labels_come_along_in_the_stream_where_an_account_has_some(bench: Bench) -> None:
    bench.add(labels='{"tenant": "acme"}')
    bench.add("plain")
    bench.answer = granted
    bench.refresh("acct", "plain")
    entries: Any = bench.runtime.redis.xrange(bench.runtime.keys.events)
    told = {fields["account"]: fields.get("labels") for _, fields in entries}
    assert json.loads(told["acct"]) == {"tenant": "acme"}
    assert told["plain"] is None


@pytest.mark.parametrize(("days", "accounts", "level"), [(3, 1, Level.WARNING), (-1, 1, Level.FAILED)])
def test_doctor_names_clients_whose_secret_ends(
    bench: Bench, days: float, accounts: int, level: Level
) -> None:
    bench.add_client("crm", secret_expires_at=bench.runtime.clock.now() + days * 86400)
    bench.add_client("later", secret_expires_at=bench.runtime.clock.now() + 90 * 86400)
    bench.add(**OF_CRM)
    (found,) = check_client_secrets(bench.runtime)
    assert found.level is level
    assert "client crm (acme)" in found.message
    assert f"{accounts} accounts" in found.message
    causes = [one.cause for one in diagnose(gather(bench.runtime, "acct", workers=dict))]
    assert "client_secret_ends" in causes
