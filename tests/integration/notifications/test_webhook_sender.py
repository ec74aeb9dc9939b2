"""Webhooks, from an account's status to a receiver: nothing lost, nothing told twice under another id."""

from __future__ import annotations

import httpx
import pytest

from models.tables.audit import Actor
from tests.integration.notifications.conftest import Post
from tests.integration.refresh.test_refresher import granted
from worker.accounts.grants.replacement import GrantStore, read_grant
from worker.db.fleet_locks import FleetLock
from worker.db.refresh.async_stores import AsyncRefreshStore
from worker.policy.webhook_batching import SINGLY_MAX


def revoked(_: httpx.Request) -> httpx.Response:
    return httpx.Response(400, json={"error": "invalid_grant"})


def test_a_status_change_is_told_signed_with_what_an_operator_needs(post: Post) -> None:
    post.add("acme-1")
    post.answer = revoked
    post.refresh("acme-1")

    assert post.tell().delivered == 1

    ((message_id, message),) = post.taken
    assert message_id.startswith("msg_")
    assert message["type"] == "reauthorize"
    data = message["data"]
    assert {name: data[name] for name in ("account", "provider", "client", "generation", "reason")} == {
        "account": "acme-1",
        "provider": "acme",
        "client": "client",
        "generation": 1,
        "reason": "invalid_grant",
    }
    assert data["message"]
    assert data["words"] == data["message"], "the name of the release before"
    assert post.tell().delivered == 0


def test_an_ordinary_refresh_writes_nothing_to_the_outbox(post: Post) -> None:
    post.add("acme-1")
    post.answer = granted
    post.refresh("acme-1")

    assert post.runtime.outbox.waiting() == 0
    assert (post.tell().made, post.taken) == (0, [])


def test_without_a_webhook_nothing_is_written(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    without = AsyncRefreshStore(post.runtime.engine, post.runtime.executor, post.runtime.clock, frozenset())
    monkeypatch.setattr(post.runtime.committer, "_store", without)
    post.add("acme-1")
    post.answer = revoked
    post.refresh("acme-1")

    assert post.runtime.outbox.waiting() == 0


def test_a_failure_that_the_row_did_not_take_is_not_told(post: Post) -> None:
    post.add("acme-1")

    def edited_meanwhile(request: httpx.Request) -> httpx.Response:
        post.sql("UPDATE account SET config_version = config_version + 1 WHERE id = 'acme-1'")
        return revoked(request)

    post.answer = edited_meanwhile
    post.refresh("acme-1")

    assert post.runtime.outbox.waiting() == 0


def test_a_crash_after_the_commit_loses_nothing(post: Post) -> None:
    post.add("acme-1")
    post.answer = revoked
    post.refresh("acme-1")

    class Killed(BaseException):
        pass

    def killed(_: httpx.Request) -> httpx.Response:
        raise Killed

    post.receive = killed
    with pytest.raises(Killed):
        post.tell()
    post.receive = lambda _: httpx.Response(200)

    assert post.tell().delivered == 1
    assert post.told_of == [("reauthorize", "acme-1")]


@pytest.mark.parametrize(
    "failure",
    [
        httpx.Response(500),
        httpx.Response(404),
        httpx.Response(302, headers={"location": "https://elsewhere.example"}),
        httpx.ConnectError("refused"),
        httpx.ReadTimeout("slow"),
    ],
    ids=["500", "404", "redirect", "down", "slow"],
)
def test_a_message_that_was_not_taken_comes_again_under_the_same_id(
    post: Post, failure: httpx.Response | Exception
) -> None:
    post.add("acme-1")
    post.answer = revoked
    post.refresh("acme-1")
    ids: list[str] = []

    def fails(request: httpx.Request) -> httpx.Response:
        ids.append(request.headers["webhook-id"])
        if isinstance(failure, Exception):
            raise failure
        return failure

    post.receive = fails
    assert post.tell().failed == 1
    assert post.tell().failed == 0, "it waits before it is sent again"
    post.hours_pass(1)
    post.receive = lambda _: httpx.Response(200)
    post.tell()

    assert [message_id for message_id, _ in post.taken] == ids


def test_messages_of_one_account_arrive_in_their_order_and_hold_no_other_up(post: Post) -> None:
    post.add("one")
    post.add("other")
    post.answer = revoked
    post.refresh("one")

    def refuses_one(request: httpx.Request) -> httpx.Response:
        return httpx.Response(500 if b'"account": "one"' in request.content else 200)

    post.receive = refuses_one
    post.tell()
    post.sql("UPDATE account SET status = 'reauthorize', plan_at = 0, next_refresh_at = 0")
    post.sql("UPDATE account SET status = 'degraded'")
    post.answer = granted
    post.refresh("one", "other")
    post.tell()
    assert post.told_of == [("recovered", "other")]
    post.receive = lambda _: httpx.Response(200)
    post.hours_pass(1)
    post.tell()

    assert post.told_of[1:] == [("reauthorize", "one"), ("recovered", "one")]


def test_what_nobody_takes_for_days_is_dead_lettered_and_can_be_sent_again(post: Post) -> None:
    post.add("acme-1")
    post.answer = revoked
    post.refresh("acme-1")
    post.receive = lambda _: httpx.Response(500)
    post.tell()
    post.hours_pass(80)

    assert post.tell().dead_lettered == 1
    (backlog,) = post.runtime.outbox.backlog()
    assert (backlog.waiting, backlog.dead_lettered) == (0, 1)
    assert post.tell().failed == 0

    post.receive = lambda _: httpx.Response(200)
    assert post.runtime.outbox.retry() == 1
    assert post.tell().delivered == 1


def test_an_endpoint_that_is_gone_is_not_asked_again(post: Post) -> None:
    post.add("acme-1")
    post.answer = revoked
    post.refresh("acme-1")
    post.receive = lambda _: httpx.Response(410)

    assert post.tell().dead_lettered == 1


def test_a_receiver_that_is_back_gets_at_once_what_waited_for_it(post: Post) -> None:
    post.answer = revoked

    def away(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    post.receive = away
    for account in ("one", "two", "three"):
        post.add(account)
        post.refresh(account)
        post.tell()
    post.sql("UPDATE webhook SET next_at = next_at + 3600 WHERE subject <> 'account:one'")
    post.sql("UPDATE webhook SET next_at = 0 WHERE subject = 'account:one'")
    post.receive = lambda _: httpx.Response(200)

    assert post.tell().delivered == 3


def test_a_fleet_that_is_hit_at_once_is_told_in_one_message_with_a_count(post: Post) -> None:
    accounts = [f"acct-{number}" for number in range(SINGLY_MAX + 15)]
    for account in accounts:
        post.add(account)
    post.answer = revoked
    post.refresh(*accounts[:-3])

    post.tell()
    post.refresh(*accounts[-3:])
    post.tell()

    ((_, message),) = post.taken
    data = message["data"]
    assert (data["count"], data["provider"], data["reasons"]) == (
        len(accounts) - 3,
        "acme",
        {"invalid_grant": len(accounts) - 3},
    )
    assert sorted(data["accounts"]) == sorted(accounts[:-3])
    assert (data["total"], data.get("next")) == (len(accounts) - 3, None)
    post.sql("UPDATE outbox SET at = at - 300")
    post.tell()
    assert post.taken[1][1]["data"]["count"] == 3


def test_of_250_dead_accounts_the_webhooks_name_250(post: Post) -> None:
    accounts = [f"acct-{number:03}" for number in range(250)]
    for number, account in enumerate(accounts):
        post.add(account, refresh_token=f"r-{number}", labels=f'{{"tenant": "t{number}"}}')
    post.answer = revoked
    post.refresh(*accounts)

    summary = post.tell()

    assert (summary.made, summary.delivered) == (3, 3)
    messages = [message["data"] for _, message in post.taken]
    assert [data["count"] for data in messages] == [100, 100, 50]
    assert {data["total"] for data in messages} == {250}
    assert sorted(account for data in messages for account in data["accounts"]) == accounts
    items = {item["account"]: item for data in messages for item in data["items"]}
    assert sorted(items) == accounts
    assert items["acct-007"] | {"at": 0} == {
        "account": "acct-007",
        "generation": 1,
        "reason": "invalid_grant",
        "labels": {"tenant": "t7"},
        "at": 0,
    }
    for data in messages:
        assert data["next"].startswith("/v1/accounts?status=reauthorize&provider=acme&changed_since=")
    first = min(item["at"] for item in items.values())
    assert float(messages[0]["next"].rpartition("=")[2]) <= first
    assert len({message_id for message_id, _ in post.taken}) == 3


def test_an_account_that_dies_twice_meanwhile_is_named_once(post: Post) -> None:
    accounts = [f"acct-{number}" for number in range(SINGLY_MAX + 5)]
    for account in accounts:
        post.add(account)
    post.answer = revoked
    post.refresh(*accounts)
    post.sql(
        "INSERT INTO outbox (id, type, account, provider, client, generation, reason, at, labels) "
        "SELECT 'z' || id, type, account, provider, client, 2, 'access_denied', at, labels FROM outbox "
        "WHERE account = 'acct-3'"
    )
    post.tell()

    ((_, message),) = post.taken
    assert message["data"]["accounts"].count("acct-3") == 1
    (item,) = (one for one in message["data"]["items"] if one["account"] == "acct-3")
    assert (item["generation"], item["reason"]) == (2, "access_denied")


def test_a_consent_is_told_with_the_accounts_labels(post: Post) -> None:
    post.add("acme-1", status="reauthorize", labels='{"tenant": "t1"}')
    runtime = post.runtime
    store = GrantStore(
        engine=runtime.engine,
        sealer=runtime.sealer,
        providers=runtime.providers,
        clock=runtime.clock,
        told=runtime.settings.webhook_event_types,
    )
    fields = {"access_token": "a", "refresh_token": "r", "expires_in": 3600}
    store.store_one(read_grant("acme-1", fields, actor=Actor("platform", "web")))

    post.tell()

    assert sorted(post.told_of) == [("reconnected", "acme-1"), ("recovered", "acme-1")]
    assert [message["data"]["labels"] for _, message in post.taken] == [{"tenant": "t1"}] * 2


def test_delivered_messages_are_pruned_and_waiting_ones_are_not(post: Post) -> None:
    for account in ("one", "two"):
        post.add(account)
    post.answer = revoked
    post.refresh("one")
    post.tell()
    post.receive = lambda _: httpx.Response(500)
    post.refresh("two")
    post.tell()
    post.sql("UPDATE webhook SET created_at = created_at - 90000, delivered_at = delivered_at - 90000")

    assert post.runtime.outbox.prune(delivered_s=86400, dead_lettered_s=86400) == 1
    assert [backlog.waiting for backlog in post.runtime.outbox.backlog()] == [1]


def test_two_that_deliver_at_once_do_no_harm(post: Post) -> None:
    assert FleetLock(post.runtime.engine, "webhooks", holder="other", ttl_s=60).take()

    assert post.runtime.run(post.runtime.webhook_sender.tell()) is None


def test_no_secret_reaches_the_database_or_a_message(post: Post) -> None:
    post.add("acme-1")
    post.answer = revoked
    post.refresh("acme-1")
    post.receive = lambda _: httpx.Response(500)
    post.tell()

    (row,) = post.sql("SELECT * FROM webhook")
    written = repr(tuple(row))
    for secret in ("url-secret", "old-refresh", "old-access", "client-secret", "MfKQ9r8"):
        assert secret not in written
    assert row.endpoint.startswith("hooks.example-")
