"""What workers carry out for a process that can open nothing: each op, its authority, and what it leaves behind."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
import redis

from models.tables.account import Status, fingerprint
from models.token import Secret
from tests.integration.intake.conftest import ACME, Asker
from tests.integration.refresh.test_unforeseen import unique
from worker.accounts.grants.replacement import GrantStore
from worker.errors import DatabaseUnreachable
from worker.intake.requests import Code, Op

GRANT = {"access_token": "new-access", "refresh_token": "new-refresh", "expires_in": 3600}
TENANT = {"tenant": "acme"}


def refreshed(_: httpx.Request) -> httpx.Response:
    return httpx.Response(
        200, json={"access_token": "third", "refresh_token": "third-refresh", "expires_in": 3600}
    )


def refused(_: httpx.Request) -> httpx.Response:
    return httpx.Response(400, json={"error": "invalid_grant", "error_description": "expired"})


def test_a_grant_is_stored_and_published(asker: Asker) -> None:
    asker.bench.add(status=Status.REAUTHORIZE)

    reply = asker.ask(Op.PUT_GRANT, account="acct", fields=GRANT)

    assert reply.code is Code.DONE
    assert (reply.result["outcome"], reply.result["generation"], reply.result["published"]) == (
        "reconnected",
        2,
        True,
    )
    token = asker.bench.token()
    assert token is not None
    assert token.access_token == "new-access"
    sealed = asker.bench.account().refresh_token_sealed
    assert sealed is not None
    assert sealed.startswith("v1."), "a worker seals with the key itself"
    ((actor, action, account, detail),) = asker.acts()
    assert (actor, action, account) == ("platform", "grant", "acct")
    assert detail["generation"] == 2
    assert detail["outcome"] == "reconnected"
    assert detail["refresh_fp"] == fingerprint(Secret("new-refresh"))


def test_a_grant_is_tried_and_its_refreshed_tokens_are_stored(asker: Asker) -> None:
    asker.bench.add()
    asker.bench.answer = refreshed

    reply = asker.ask(Op.VERIFY_GRANT, account="acct", fields=GRANT)

    assert reply.code is Code.DONE
    assert b"refresh_token=new-refresh" in asker.bench.requests[0].content
    assert asker.bench.refresh_token() == "third-refresh"
    token = asker.bench.token()
    assert token is not None
    assert token.access_token == "third"


def test_a_grant_that_does_not_refresh_is_not_stored_and_the_verdict_is_told(asker: Asker) -> None:
    asker.bench.add()
    asker.bench.answer = refused

    reply = asker.ask(Op.VERIFY_GRANT, account="acct", fields=GRANT)

    assert reply.code is Code.REFUSED
    assert [one.field for one in reply.problems] == ["refresh_token"]
    assert reply.result["verdict"] == "reauthorize"
    assert reply.result["reason"] == "invalid_grant"
    assert "new-refresh" not in reply.model_dump_json()
    account = asker.bench.account()
    assert (account.generation, account.status, asker.bench.refresh_token()) == (1, "active", "old-refresh")
    assert asker.acts() == []


def test_a_grant_that_could_not_be_stored_is_not_tried(asker: Asker) -> None:
    asker.bench.add()
    asker.bench.add("twin", refresh_token="theirs")

    reply = asker.ask(Op.VERIFY_GRANT, account="acct", fields=GRANT | {"refresh_token": "theirs"})

    assert reply.code is Code.REFUSED
    assert asker.bench.requests == []


def test_a_tried_grant_that_the_database_does_not_take_waits_in_redis(
    asker: Asker, monkeypatch: pytest.MonkeyPatch
) -> None:
    asker.bench.add()
    asker.bench.answer = refreshed

    def away(*_: Any, **__: Any) -> None:
        raise DatabaseUnreachable("the database is away")

    with monkeypatch.context() as patched:
        patched.setattr(GrantStore, "store_one", away)
        reply = asker.ask(Op.VERIFY_GRANT, account="acct", fields=GRANT)

    assert reply.code is Code.UNAVAILABLE
    assert "wait in Redis" in reply.detail
    asker.bench.refresh("acct")
    assert asker.bench.refresh_token() == "third-refresh"


def test_an_account_is_edited(asker: Asker) -> None:
    asker.bench.add()

    reply = asker.ask(Op.PATCH_ACCOUNT, account="acct", fields={"session_timeout_s": 1200})
    unknown = asker.ask(Op.PATCH_ACCOUNT, account="nobody", fields={"session_timeout_s": 1200})
    wrong = asker.ask(Op.PATCH_ACCOUNT, account="acct", fields={"session_timeout_s": "soon"})

    assert (reply.code, reply.result["changed"]) == (Code.DONE, ["session_timeout_s"])
    assert unknown.code is Code.NOT_FOUND
    assert (wrong.code, wrong.problems[0].field) == (Code.REFUSED, "session_timeout_s")


def test_an_account_is_removed_with_what_redis_has_of_it(asker: Asker) -> None:
    asker.ask(Op.PUT_ACCOUNT, account="acct", fields=ACME | GRANT)

    reply = asker.ask(Op.REMOVE_ACCOUNT, account="acct")

    assert (reply.code, reply.result["removed"]) == (Code.DONE, True)
    assert asker.bench.token() is None
    assert asker.ask(Op.REMOVE_ACCOUNT, account="acct").code is Code.NOT_FOUND


def test_an_account_whose_grant_cannot_be_revoked_stays(asker: Asker) -> None:
    asker.bench.add()

    kept = asker.ask(Op.REMOVE_ACCOUNT, account="acct", revoke=True)
    removed = asker.ask(Op.REMOVE_ACCOUNT, account="acct", revoke=True, force=True)

    assert kept.code is Code.CONFLICT
    assert (kept.result["revocation"], kept.result["removed"]) == ("unsupported", False)
    assert (removed.code, removed.result["revocation"]) == (Code.DONE, "unsupported")


def test_a_chunk_of_rows_has_a_result_a_row(asker: Asker) -> None:
    asker.bench.add("there")
    rows = [
        {"id": "one", **ACME, "refresh_token": "r1"},
        {"id": "two", **ACME, "refresh_token": "r1"},
        {"id": "there", "client_id": "client"},
        {"id": "bad", "provider": "acme", "refresh_method": "pigeon"},
        {"id": "one", **ACME},
        {"no": "id"},
    ]

    reply = asker.ask(Op.IMPORT_ACCOUNTS, rows=rows, first_line=11)

    found = reply.result["rows"]
    assert [one["line"] for one in found] == [11, 12, 13, 14, 15, 16]
    assert [one["outcome"] for one in found] == [
        "added",
        "failed",
        "unchanged",
        "failed",
        "failed",
        "failed",
    ]
    assert found[0]["account"] == "one"
    assert found[1]["errors"][0]["field"] == "refresh_token"
    assert found[3]["errors"][0]["field"] == "refresh_method"
    assert found[4]["errors"] == [{"field": "id", "reason": "line 11 has this id already"}]


def test_a_row_of_a_batch_that_the_database_refuses_keeps_no_other_from_being_stored(asker: Asker) -> None:
    scopes = ["s0", "same", "same", "s3", "s4"]
    rows = [
        {"id": f"a-{number}", **ACME, "refresh_token": f"r{number}", "scope": scope}
        for number, scope in enumerate(scopes)
    ]

    with unique(asker.bench, "account", "scope"):
        reply = asker.ask(Op.IMPORT_ACCOUNTS, rows=rows)

    found = reply.result["rows"]
    assert [one["outcome"] for one in found] == ["added", "added", "failed", "added", "added"]
    (problem,) = found[2]["errors"]
    assert (found[2]["account"], problem["field"]) == ("a-2", "row")
    assert "the database can't store one of its values" in problem["reason"]


def test_a_row_of_a_batch_says_that_it_replaced_labels_and_one_label_leaves_the_others(asker: Asker) -> None:
    asker.bench.add("all", labels='{"tenant": "acme", "stage": "one"}')
    asker.bench.add("one", labels='{"tenant": "acme", "stage": "one"}')
    rows = [{"id": "all", "labels": {"stage": "two"}}, {"id": "one", "labels.stage": "two"}]

    reply = asker.ask(Op.IMPORT_ACCOUNTS, rows=rows)

    assert [(one["outcome"], one["changed"]) for one in reply.result["rows"]] == [("changed", ["labels"])] * 2
    assert asker.bench.account("all").label_set == {"stage": "two"}
    assert asker.bench.account("one").label_set == {"tenant": "acme", "stage": "two"}


def test_a_client_is_stored_and_removed(asker: Asker) -> None:
    fields = {
        "provider": "acme",
        "client_id": "id",
        "client_secret": "marker-secret",
        "token_url": ACME["token_url"],
    }

    added = asker.ask(Op.PUT_CLIENT, name="crm", fields=fields)
    asker.ask(Op.PUT_ACCOUNT, account="acct", fields={"client": "crm", **GRANT})
    used = asker.ask(Op.REMOVE_CLIENT, name="crm")
    asker.ask(Op.REMOVE_ACCOUNT, account="acct")
    removed = asker.ask(Op.REMOVE_CLIENT, name="crm")
    gone = asker.ask(Op.REMOVE_CLIENT, name="crm")

    assert (added.code, added.result["outcome"]) == (Code.DONE, "added")
    assert "marker" not in added.model_dump_json()
    assert used.code is Code.CONFLICT
    assert removed.code is Code.DONE
    assert gone.code is Code.NOT_FOUND


FOREIGN: list[tuple[Op, dict[str, Any]]] = [
    (Op.PUT_ACCOUNT, {"fields": {"session_timeout_s": 1}}),
    (Op.PATCH_ACCOUNT, {"fields": {"session_timeout_s": 1}}),
    (Op.PATCH_ACCOUNT, {"fields": {"labels": {"tenant": "acme"}}}),
    (Op.REMOVE_ACCOUNT, {}),
    (Op.REMOVE_ACCOUNT, {"revoke": True, "force": True}),
    (Op.PUT_GRANT, {"fields": GRANT}),
    (Op.VERIFY_GRANT, {"fields": GRANT}),
]


@pytest.mark.parametrize(("op", "payload"), FOREIGN)
def test_an_account_of_another_label_is_as_if_it_were_not_there(
    asker: Asker, op: Op, payload: dict[str, Any]
) -> None:
    asker.bench.add(labels='{"tenant": "other"}')

    reply = asker.ask(op, require_labels=TENANT, account="acct", **payload)

    assert reply.code is Code.NOT_FOUND
    account = asker.bench.account()
    assert (account.generation, account.session_timeout_s) == (1, 900)
    assert account.label_set == {"tenant": "other"}
    assert asker.bench.requests == []


def test_what_a_labelled_key_creates_gets_its_label_and_keeps_it(asker: Asker) -> None:
    asker.ask(
        Op.PUT_ACCOUNT,
        require_labels=TENANT,
        account="acct",
        fields=ACME | GRANT | {"labels": {"plan": "pro"}},
    )
    assert asker.bench.account().label_set == {"plan": "pro", "tenant": "acme"}

    asker.ask(Op.PATCH_ACCOUNT, require_labels=TENANT, account="acct", fields={"labels": {"plan": "free"}})
    assert asker.bench.account().label_set == {"plan": "free", "tenant": "acme"}
    asker.ask(Op.PATCH_ACCOUNT, require_labels=TENANT, account="acct", fields={"labels.tenant": None})
    assert asker.bench.account().label_set == {"plan": "free", "tenant": "acme"}
    again = GRANT | {"refresh_token": "another"}
    reply = asker.ask(Op.PUT_GRANT, require_labels=TENANT, account="acct", fields=again)
    assert reply.result["outcome"] == "replaced"
    assert asker.bench.events() == [("connected", "consent_given"), ("reconnected", "consent_given")]


def test_a_labelled_key_imports_its_own_rows_alone(asker: Asker) -> None:
    asker.bench.add("theirs", labels='{"tenant": "other"}')
    rows = [{"id": "mine", **ACME, "refresh_token": "r1"}, {"id": "theirs", "session_timeout_s": 1}]

    reply = asker.ask(Op.IMPORT_ACCOUNTS, require_labels=TENANT, rows=rows)

    assert [one["outcome"] for one in reply.result["rows"]] == ["added", "failed"]
    assert asker.bench.account("mine").label_set == TENANT
    assert asker.bench.account("theirs").session_timeout_s == 900


def test_a_labelled_key_touches_no_client(asker: Asker) -> None:
    assert asker.ask(Op.PUT_CLIENT, require_labels=TENANT, name="crm", fields={}).code is Code.NOT_FOUND
    assert asker.ask(Op.REMOVE_CLIENT, require_labels=TENANT, name="crm").code is Code.NOT_FOUND


def test_a_redis_that_is_away_is_no_defect(asker: Asker, monkeypatch: pytest.MonkeyPatch) -> None:
    asker.bench.add()

    def away(*_: Any, **__: Any) -> None:
        raise redis.ConnectionError("away")

    monkeypatch.setattr(asker.bench.runtime.redis, "exists", away)
    reply = asker.ask(Op.REMOVE_ACCOUNT, account="acct", revoke=True)

    assert reply.code is Code.UNAVAILABLE
    assert "Redis can't be asked" in reply.detail
