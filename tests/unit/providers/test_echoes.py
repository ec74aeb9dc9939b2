"""Whatever a provider echoes, and whatever a knob names: no secret is published or kept in the history."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from msgspec.structs import asdict, replace

from models.answer import Answer
from models.token import Secret
from tests.support.providers.provider_double import Wire, account, provider
from worker.callbacks.host.result import read_value

OLD, NEW, CLIENT, KEY = "old-refresh/+token", "new-refresh/+token", "client-secret/+text", "custom-key/+text"
SECRETS = {OLD, NEW, CLIENT, KEY, "new-access/+token"}


def asked(**knobs: object) -> Any:
    return account(
        provider(**knobs),
        refresh_token=OLD,
        client_secret=CLIENT,
        custom={"api_key": KEY, "host": "acme.example"},
    )


def history(answer: Answer) -> str:
    """Return what the history keeps of an answer."""
    kept = asdict(replace(answer, token=None))
    return json.dumps(kept, default=str)


def found(text: str) -> set[str]:
    return {secret for secret in SECRETS if secret in text or quote(secret, safe="") in text}


@pytest.mark.parametrize("secret", [OLD, CLIENT, KEY])
@pytest.mark.parametrize("header", ["x-request-id", "cf-ray", "x-correlation-id"])
@pytest.mark.parametrize("status", [200, 400, 500])
async def test_an_id_that_echoes_a_secret_is_masked(status: int, header: str, secret: str) -> None:
    spelled = [secret, quote(secret, safe=""), base64.b64encode(f"x:{secret}".encode()).decode()]
    for echo in spelled:
        body = (
            {"access_token": "new-access/+token", "refresh_token": NEW} if status == 200 else {"error": "x"}
        )
        answer = await Wire(httpx.Response(status, json=body, headers={header: f"id-{echo}"})).call(asked())
        assert answer.provider_request_id is not None
        assert echo not in history(answer)
        assert "[redacted]" in answer.provider_request_id


async def test_an_id_that_echoes_a_token_just_issued_is_masked() -> None:
    body = {"access_token": "new-access/+token", "refresh_token": NEW, "request_id": f"for {NEW}"}
    answer = await Wire(httpx.Response(200, json=body)).call(asked())
    assert not found(history(answer))


async def test_an_id_of_hex_is_looked_into_as_well() -> None:
    token = "0123456789abcdef" * 2
    request = account(provider(), refresh_token=token)
    for echo, kept in ((f"a-{token}", "a-[redacted]"), ("feedbeef", "feedbeef")):
        answer = await Wire(httpx.Response(400, json={}, headers={"x-request-id": echo})).call(request)
        assert answer.provider_request_id == kept


async def test_a_redirect_to_a_host_that_echoes_a_secret_is_masked() -> None:
    request = account(provider(), refresh_token="refresh0token")
    redirect = httpx.Response(302, headers={"location": "https://refresh0token.example/x"})
    answer = await Wire(redirect).call(request)
    assert answer.error_description == "redirected to [redacted].example"


PUBLISHED = {
    "instance_url": "instance_url",
    "all": "data",
    "name": "name",
    "list": "list",
    "access": "access",
}
FIELDS: Mapping[str, Any] = {
    "access_token": "new-access/+token",
    "refresh_token": NEW,
    "token_type": NEW,
    "scope": f"read {CLIENT}",
    "instance_url": "https://acme.example/",
    "name": f"was {OLD}",
    "list": [NEW, "kept"],
    "access": "new-access/+token",
    "data": {"refresh_token": "another", "key": KEY, "id": 7, "more": {"client_secret": "x", "kept": "yes"}},
}
KEPT = {
    "instance_url": "https://acme.example/",
    "all": '{"id": 7, "more": {"kept": "yes"}}',
    "list": '["kept"]',
}


async def test_no_secret_is_published_whatever_a_knob_names() -> None:
    answer = await Wire(httpx.Response(200, json=FIELDS)).call(asked(publish_fields=PUBLISHED))
    assert answer.token is not None
    assert answer.token.extra == KEPT
    assert (answer.token.token_type, answer.token.scope) == (None, None)
    assert answer.token.refresh_token == Secret(NEW)


def test_no_secret_that_a_callback_returns_is_published() -> None:
    answer = read_value(FIELDS, asked(publish_fields=PUBLISHED)).answer
    assert answer.token is not None
    assert answer.token.extra == KEPT
    assert (answer.token.token_type, answer.token.scope) == (None, None)


@pytest.mark.parametrize("piece", ["\u00e9", "x", "a1", "token", "token: ", 'key="', "a.", "=", "\n"])
async def test_a_refusal_of_a_mebibyte_is_looked_through_in_one_go(piece: str) -> None:
    """Where each letter costs a look at all that follow, this takes hours, and the worker stands still."""
    text = (piece * (1 << 20)).encode()[: 1 << 20]
    answer = await Wire(httpx.Response(400, content=text, headers={"content-type": "text/plain"})).call(
        asked()
    )
    assert answer.status == 400
