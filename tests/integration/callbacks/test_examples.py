"""Every example, run in the sandbox that callbacks are run in, against a small scripted provider."""

from __future__ import annotations

import asyncio
import base64
import os
import re
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from joserfc import jwt
from joserfc.jwk import RSAKey

from models.callback import CallbackInput
from models.providers import Provider
from models.refresh_request import RefreshRequest
from models.token import Secret, TokenResponse
from tests.deploy.compose_file import ROOT
from tests.support.providers.callback_provider import ScriptedProvider, Seen
from tests.support.waiting import wait_until
from worker.callbacks.host.celery_task import TaskClient
from worker.callbacks.host.http_endpoint import EndpointClient
from worker.callbacks.host.result import Read, read_value
from worker.callbacks.host.run_result import reply_of
from worker.callbacks.host.sandbox import Sandbox
from worker.callbacks.sandbox.protocol import Command
from worker.clock import wall_clock
from worker.redis.client import connect_async

EXAMPLES = ROOT / "examples/callbacks"
MODULES = ("json_with_header", "token_exchange", "two_step_login", "hmac_signed", "google_service_account")


@pytest.fixture
def provider() -> Iterator[ScriptedProvider]:
    made = ScriptedProvider()
    yield made
    made.close()


async def run(monkeypatch: pytest.MonkeyPatch, name: str, **inputs: Any) -> Read:
    """Run an example as a worker would."""
    monkeypatch.setattr(sys, "path", [*sys.path, str(EXAMPLES)])
    given = CallbackInput(
        **{"account_id": "acct", "consumer_id": "client", "consumer_secret": "the-secret",
           "access_token": "old-access", "refresh_token": "old-refresh", **inputs}
    )  # fmt: skip
    environment = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    sandbox = Sandbox([name.replace("-", "_")], environment)
    try:
        assert (await sandbox.describe()).problems == {}
        command = Command(name, 25, 30, 512)
        ran = await sandbox.run(command, given.model_dump_json().encode(), on_start=lambda: None)
    finally:
        await sandbox.aclose()
    reply = reply_of(ran, command)
    if reply.failure is not None:
        return Read(reply.failure)
    return read_value(reply.value, RefreshRequest(account_id="acct", provider=Provider(name="acme")))


def granted(read: Read) -> TokenResponse:
    assert read.answer.token is not None, read.answer
    assert read.notes == ()
    return read.answer.token


async def test_json_with_header(provider: ScriptedProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs: dict[str, Any] = {
        "access_token_refresh_url": f"{provider.url}/refresh",
        "custom_fields": {"api_key": "the-api-key", "tenant": "eu"},
    }
    provider.script = lambda _: (
        200, {"data": {"accessToken": "new", "refreshToken": "next", "ttlSeconds": 600}}
    )  # fmt: skip
    token = granted(await run(monkeypatch, "json-with-header", **inputs))
    assert (token.access_token, token.refresh_token, token.expires_in_s) == (
        Secret("new"),
        Secret("next"),
        600,
    )
    (seen,) = provider.seen
    assert seen.headers["x-api-key"] == "the-api-key"
    assert seen.json == {
        "tenant": "eu", "clientId": "client", "clientSecret": "the-secret", "refreshToken": "old-refresh"
    }  # fmt: skip

    provider.script = lambda _: (403, {"code": "TOKEN_REVOKED", "message": "by its owner"})
    answer = (await run(monkeypatch, "json-with-header", **inputs)).answer
    assert (answer.error, answer.error_description) == ("invalid_grant", "by its owner")
    provider.script = lambda _: (503, {})
    answer = (await run(monkeypatch, "json-with-header", **inputs)).answer
    assert "it raised HTTPStatusError" in (answer.fault_detail or "")


async def test_token_exchange(provider: ScriptedProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"{provider.url}/oauth/access_token"
    provider.script = lambda _: (
        200,
        {"access_token": "longer", "token_type": "bearer", "expires_in": 5_184_000},
    )
    token = granted(await run(monkeypatch, "token-exchange", access_token_refresh_url=url))
    assert (token.access_token, token.refresh_token, token.expires_in_s) == (
        Secret("longer"),
        None,
        5_184_000,
    )
    (seen,) = provider.seen
    assert seen.query == {
        "grant_type": "fb_exchange_token", "client_id": "client", "client_secret": "the-secret",
        "fb_exchange_token": "old-access",
    }  # fmt: skip

    provider.script = lambda _: (400, {"error": {"code": 190, "message": "Session has expired"}})
    answer = (await run(monkeypatch, "token-exchange", access_token_refresh_url=url)).answer
    assert answer.error == "invalid_grant"


async def test_two_step_login(provider: ScriptedProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs: dict[str, Any] = {
        "access_token_refresh_url": provider.url,
        "custom_fields": {"user": "ann", "password": "pass-word", "company": "7"},
    }

    def script(seen: Seen) -> tuple[int, dict[str, Any]]:
        if seen.path == "/login":
            ok = seen.form == {"user": "ann", "password": "pass-word"}
            return (200, {"set_cookie": "session=s1"}) if ok else (401, {})
        ok = seen.headers.get("cookie") == "session=s1" and seen.json == {"company": "7"}
        return (200, {"token": "api-token", "minutes": 30}) if ok else (403, {})

    provider.script = script
    token = granted(await run(monkeypatch, "two-step-login", **inputs))
    assert (token.access_token, token.token_type, token.expires_in_s) == (
        Secret("api-token"),
        "Session",
        1800,
    )

    inputs["custom_fields"]["password"] = "wrong"
    assert (await run(monkeypatch, "two-step-login", **inputs)).answer.error == "invalid_grant"


async def test_hmac_signed(provider: ScriptedProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    from hmac_signed import sign  # type: ignore[import-not-found]

    def script(seen: Seen) -> tuple[int, dict[str, Any]]:
        wanted = sign("the-secret", "POST", "/auth/refresh", seen.headers["x-timestamp"], seen.text)
        if seen.headers["x-signature"] != wanted:
            return 200, {"error": "error_sign", "message": "wrong signature"}
        return 200, {"error": "", "access_token": "new", "refresh_token": "next", "expire_in": 14_400}

    provider.script = script
    url = f"{provider.url}/auth/refresh"
    token = granted(await run(monkeypatch, "hmac-signed", access_token_refresh_url=url))
    assert (token.access_token, token.expires_in_s) == (Secret("new"), 14_400)
    wrong = await run(monkeypatch, "hmac-signed", access_token_refresh_url=url, consumer_secret="another")
    assert wrong.answer.error == "invalid_client"


async def test_google_service_account(provider: ScriptedProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    public = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    url = f"{provider.url}/token"

    def script(seen: Seen) -> tuple[int, dict[str, Any]]:
        assert seen.form["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"
        claims = jwt.decode(seen.form["assertion"], RSAKey.import_key(public), algorithms=["RS256"]).claims
        if claims["iss"] != "svc@project.example":
            return 400, {"error": "invalid_grant", "error_description": "Invalid issuer"}
        assert (claims["scope"], claims["aud"], claims["exp"] - claims["iat"]) == ("drive", url, 3600)
        assert claims["sub"] == "ann@example"
        return 200, {"access_token": "ya29", "expires_in": 3599, "token_type": "Bearer"}

    provider.script = script
    fields = {
        "client_email": "svc@project.example", "private_key": pem.replace("\n", "\\n"), "scope": "drive",
        "subject": "ann@example",
    }  # fmt: skip
    inputs: dict[str, Any] = {"access_token_refresh_url": url, "custom_fields": fields}
    token = granted(await run(monkeypatch, "google-service-account", **inputs))
    assert (token.access_token, token.expires_in_s) == (Secret("ya29"), 3599)
    fields["client_email"] = "stranger@project.example"
    assert (await run(monkeypatch, "google-service-account", **inputs)).answer.error == "invalid_grant"


NODE = shutil.which("node")


@pytest.mark.skipif(NODE is None, reason="Node is not installed")
async def test_endpoint_in_node(provider: ScriptedProvider) -> None:
    secret = f"whsec_{base64.b64encode(secrets.token_bytes(24)).decode()}"
    provider.script = lambda seen: (
        (200, {"access_token": "new", "refresh_token": "next", "expires_in": 60})
        if seen.json == {"client": "client", "token": "old-refresh ü"}
        else (400, {"error": "invalid_grant", "message": "which?"})
    )
    process = subprocess.Popen(
        [str(NODE), str(EXAMPLES / "endpoint.mjs")],
        env={"CALLBACK_SECRET": secret, "PORT": "0"},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        client = EndpointClient(ca_file=None, allow_http_hosts=("127.0.0.1",), now=wall_clock)
        loop = asyncio.get_running_loop()

        async def ask(refresh_token: str, key: str = secret) -> Any:
            inputs = CallbackInput(
                consumer_id="client", refresh_token=refresh_token, access_token_refresh_url=f"{provider.url}/"
            )
            return await client.call(url, key, inputs, deadline=loop.time() + 20, on_send=lambda: None)

        assert (await ask("old-refresh ü")).value == {
            "access_token": "new", "refresh_token": "next", "expires_in": 60
        }  # fmt: skip
        assert (await ask("another")).value["errorResponse"]["error"] == "invalid_grant"
        stranger = await ask("old-refresh ü", f"whsec_{base64.b64encode(bytes(24)).decode()}")
        assert "answered 401" in stranger.failure.fault_detail
        assert httpx.get(url, trust_env=False).status_code == 401
        await client.aclose()
    finally:
        process.terminate()
        process.wait(20)
        if process.stdout is not None:
            process.stdout.close()


async def test_celery_task(provider: ScriptedProvider, redis_url: str, tmp_path: Path) -> None:
    secret = base64.b64encode(secrets.token_bytes(32)).decode()
    answer = {"refresh_token": "next", "expires_in": 60}
    provider.script = lambda seen: (200, {"access_token": f"for {seen.json['token']}", **answer})
    log = (tmp_path / "worker.log").open("wb")
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "celery", "-A", "celery_task", "worker", "--pool", "solo"),
            *("-Q", "callback.celery-task", "--without-gossip", "--without-mingle", "--loglevel", "INFO"),
        ],
        cwd=EXAMPLES,
        env={**os.environ, "CALLBACK_SECRET": secret, "REFRESHD_REDIS_URL": redis_url},
        stdout=log,
        stderr=log,
        start_new_session=True,
    )
    redis = connect_async(redis_url)
    client = TaskClient(redis, redis_url, "refreshd:")
    try:
        ready = re.compile(rb" ready\.")
        await asyncio.to_thread(
            wait_until,
            lambda: bool(ready.search((tmp_path / "worker.log").read_bytes())),
            "the task's worker",
        )
        inputs = CallbackInput(refresh_token="old-refresh", access_token_refresh_url=f"{provider.url}/")
        deadline = asyncio.get_running_loop().time() + 20
        reply = await client.call(
            "celery_task.refresh",
            "callback.celery-task",
            secret,
            inputs,
            deadline=deadline,
            on_send=lambda: None,
        )
        expected = {"access_token": "for old-refresh", "refresh_token": "next", "expires_in": 60}
        assert (reply.value, reply.failure) == (expected, None)
        assert b"old-refresh" not in (tmp_path / "worker.log").read_bytes()
    finally:
        process.terminate()
        process.wait(30)
        log.close()
        await client.aclose()
        await redis.aclose()


@pytest.mark.parametrize("module", MODULES)
def test_each_example_says_how_an_account_names_it(module: str) -> None:
    text = (EXAMPLES / f"{module}.py").read_text()
    assert re.search(rf"^ *callback: {module.replace('_', '-')}$", text, re.MULTILINE)
