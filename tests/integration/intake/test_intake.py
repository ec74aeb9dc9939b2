"""Requests of a process that can open nothing: sealed, carried out once, answered without a secret."""

from __future__ import annotations

import pytest

from models.token import Secret
from tests.integration.intake.conftest import ACME, Asker
from worker.crypto.cipher import Cipher, generate_key, parse_keys
from worker.crypto.intake import IntakeSealer
from worker.errors import SealBroken
from worker.intake.client import NoWorkerAnswered
from worker.intake.inbox import answer
from worker.intake.requests import (
    REQUEST_MAX_BYTES,
    Code,
    IntakeRequest,
    MalformedRequest,
    Op,
    RequestTooLong,
    open_request,
    reply_key,
    seal_request,
)

NOW = 1_790_000_000.0
REQUEST = IntakeRequest(op=Op.PUT_GRANT, actor="key", host="web", payload={"secret": "marker"}, sent_at=NOW)


def test_an_account_is_created_and_its_token_published(asker: Asker) -> None:
    fields = {**ACME, "access_token": "marker-access", "refresh_token": "marker-refresh", "expires_in": 3600}

    reply = asker.ask(Op.PUT_ACCOUNT, account="acct", fields=fields)

    assert reply.code is Code.DONE
    assert reply.result["outcome"] == "added"
    assert reply.result["published"] is True
    token = asker.bench.token()
    assert token is not None
    assert token.access_token == "marker-access"
    assert asker.bench.refresh_token() == "marker-refresh"
    assert asker.results == [{"op": "put_account", "code": "done"}]
    assert asker.acts() == [("platform", "add", "acct", {})]
    assert (token.generation, asker.bench.account().generation) == (1, 1)


def test_an_account_is_changed_and_its_newer_token_kept(asker: Asker) -> None:
    fields = {**ACME, "access_token": "a1", "refresh_token": "r1"}
    asker.ask(Op.PUT_ACCOUNT, account="acct", fields=fields)

    same = asker.ask(Op.PUT_ACCOUNT, account="acct", fields=ACME)
    changed = asker.ask(Op.PUT_ACCOUNT, account="acct", fields={**ACME, "session_timeout_s": 1200})
    asker.ask(Op.PUT_ACCOUNT, account="acct", fields={"access_token": "a2", "refresh_token": "r2"})
    stale = asker.ask(Op.PUT_ACCOUNT, account="acct", fields={"access_token": "a1", "refresh_token": "r1"})

    assert same.result["outcome"] == "unchanged"
    assert (changed.result["outcome"], changed.result["changed"]) == ("changed", ["session_timeout_s"])
    assert asker.bench.account().session_timeout_s == 1200
    assert stale.result["outcome"] in {"kept_newer", "changed"}


def test_a_wrong_field_is_refused_with_the_reasons_of_an_import(asker: Asker) -> None:
    reply = asker.ask(Op.PUT_ACCOUNT, account="acct", fields={**ACME, "refresh_method": "pigeon"})

    assert reply.code is Code.REFUSED
    assert [one.field for one in reply.problems] == ["refresh_method"]


def test_an_unknown_account_is_not_found(asker: Asker) -> None:
    reply = asker.ask(Op.PUT_GRANT, account="nobody", fields={"access_token": "a", "refresh_token": "r"})

    assert reply.code is Code.NOT_FOUND


def test_a_payload_of_another_shape_is_refused_without_its_values(asker: Asker) -> None:
    reply = asker.ask(Op.PUT_ACCOUNT, account=["marker-secret"], more="marker-secret")

    assert reply.code is Code.REFUSED
    assert {one.field for one in reply.problems} == {"account", "more"}
    assert "marker" not in reply.model_dump_json()


def test_a_request_is_carried_out_once(asker: Asker) -> None:
    asker.bench.add()
    asker.ask(Op.PUT_GRANT, account="acct", fields={"access_token": "a", "refresh_token": "r"})
    generation = asker.bench.account().generation

    again = answer(asker.tools, *asker.sent[0])

    assert again == {"code": "taken_before"}
    assert asker.bench.account().generation == generation


def test_a_request_under_another_id_does_not_open(asker: Asker) -> None:
    asker.bench.add()
    asker.ask(Op.PUT_GRANT, account="acct", fields={"access_token": "a", "refresh_token": "r"})
    sealed, _ = asker.sent[0]

    forged = answer(asker.tools, sealed, "another-id-of-16-or-more")

    assert forged == {"op": "", "code": "unavailable"}


def test_a_reply_ends_by_itself(asker: Asker) -> None:
    asker.ask(Op.PUT_GRANT, account="nobody", fields={})
    sealed, request_id = asker.sent[0]
    runtime = asker.bench.runtime
    runtime.redis.delete(f"{runtime.settings.redis_prefix}intake:{{{request_id}}}")

    answer(asker.tools, sealed, request_id)

    assert 0 < runtime.redis.ttl(reply_key(runtime.settings.redis_prefix, request_id)) <= 60


def test_no_worker_is_named_with_what_to_do(asker: Asker) -> None:
    with pytest.raises(NoWorkerAnswered, match="queue `urgent`"):
        asker.unanswered(Op.PUT_GRANT, account="acct", fields={})


def test_no_secret_is_in_what_is_sent_or_answered(asker: Asker) -> None:
    fields = {**ACME, "access_token": "marker-access", "refresh_token": "marker-refresh"}
    reply = asker.ask(Op.PUT_ACCOUNT, account="acct", fields=fields)
    wrong = asker.ask(Op.PUT_ACCOUNT, account="acct", fields={**fields, "expires_in": "marker-no-number"})

    for text in (str(asker.sent), str(asker.results), reply.model_dump_json(), wrong.model_dump_json()):
        assert "marker-access" not in text
        assert "marker-refresh" not in text
        assert "marker-client-secret" not in text


@pytest.fixture(scope="module")
def cipher() -> Cipher:
    return Cipher(parse_keys(generate_key("k1")))


def test_a_request_opens_under_its_own_id_alone(cipher: Cipher) -> None:
    sealed = seal_request(REQUEST, "0123456789abcdef", IntakeSealer.of(cipher.intake_key))

    assert open_request(sealed, "0123456789abcdef", cipher, now=NOW) == REQUEST
    assert "marker" not in repr(REQUEST)
    with pytest.raises(SealBroken):
        open_request(sealed, "fedcba9876543210", cipher, now=NOW)


@pytest.mark.parametrize("now", [NOW - 601, NOW + 601])
def test_an_old_request_is_not_carried_out(cipher: Cipher, now: float) -> None:
    sealed = seal_request(REQUEST, "0123456789abcdef", IntakeSealer.of(cipher.intake_key))
    with pytest.raises(MalformedRequest, match="synchronize"):
        open_request(sealed, "0123456789abcdef", cipher, now=now)


def test_what_is_sealed_and_no_request_is_refused(cipher: Cipher) -> None:
    sealed = cipher.seal(Secret('{"op": "marker"}'), account="0123456789abcdef", field="intake")
    with pytest.raises(MalformedRequest) as refused:
        open_request(sealed, "0123456789abcdef", cipher, now=NOW)
    assert "marker" not in str(refused.value)


def test_a_request_that_no_message_carries_is_refused(cipher: Cipher) -> None:
    long = REQUEST.model_copy(update={"payload": {"text": "x" * REQUEST_MAX_BYTES}})
    with pytest.raises(RequestTooLong):
        seal_request(long, "0123456789abcdef", IntakeSealer.of(cipher.intake_key))
