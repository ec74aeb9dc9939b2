"""The local provider over the wire: what clients, readers and whoever breaks it on purpose get from it."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from aiohttp import web

from worker.local.demo.provider.__main__ import make_app
from worker.local.demo.provider.faults import Faults
from worker.local.demo.provider.grants import Grants
from worker.local.demo.provider.state import ProviderState
from worker.local.ports import LOOPBACK


@pytest.fixture
async def provider() -> AsyncIterator[httpx.AsyncClient]:
    runner = web.AppRunner(make_app(ProviderState(Grants(b"key"), Faults(seed=1))), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, LOOPBACK, 0).start()
    base = f"http://{LOOPBACK}:{runner.addresses[0][1]}"
    async with httpx.AsyncClient(base_url=base, trust_env=False) as client:
        yield client
    await runner.cleanup()


async def grant(provider: httpx.AsyncClient, **spec: object) -> dict[str, Any]:
    answer = await provider.post("/admin/grants", json={"grants": [{"id": "one", **spec}]})
    assert answer.status_code == 200
    row: dict[str, Any] = answer.json()["grants"][0]
    return row


async def refresh(provider: httpx.AsyncClient, row: dict[str, Any]) -> httpx.Response:
    form = {
        "grant_type": "refresh_token",
        **{n: row[n] for n in ("client_id", "client_secret", "refresh_token")},
    }
    return await provider.post("/token", data=form)


async def fault(provider: httpx.AsyncClient, kind: str, **amounts: float) -> None:
    wanted = {"faults": [{"kind": kind, "times": 1, **amounts}]}
    assert (await provider.post("/admin/faults", json=wanted)).status_code == 200


async def stats(provider: httpx.AsyncClient) -> dict[str, int]:
    found: dict[str, int] = (await provider.get("/stats")).json()
    return found


async def test_a_refresh_answers_as_rfc_6749_says(provider: httpx.AsyncClient) -> None:
    row = await grant(provider, lifetime_s=90, scope="a b")
    answer = await refresh(provider, row)
    assert answer.headers["Cache-Control"] == "no-store"
    body = answer.json()
    assert {name: body[name] for name in ("token_type", "expires_in", "scope")} == {
        "token_type": "Bearer",
        "expires_in": 90,
        "scope": "a b",
    }
    assert body["refresh_token"] != row["refresh_token"]


@pytest.mark.parametrize(("way", "sent"), [("number", 90), ("text", "90"), ("absent", None)])
async def test_expires_in_comes_in_several_ways(provider: httpx.AsyncClient, way: str, sent: object) -> None:
    row = await grant(provider, lifetime_s=90, expires_in_as=way)
    assert (await refresh(provider, row)).json().get("expires_in") == sent


async def test_without_rotation_no_refresh_token_is_sent(provider: httpx.AsyncClient) -> None:
    row = await grant(provider, rotates=False)
    assert "refresh_token" not in (await refresh(provider, row)).json()


async def test_a_wrong_secret_is_invalid_client(provider: httpx.AsyncClient) -> None:
    row = await grant(provider)
    answer = await refresh(provider, {**row, "client_secret": "wrong"})
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")
    assert (await stats(provider))["refused"] == 1


async def test_reuse_is_counted_and_revokes(provider: httpx.AsyncClient) -> None:
    row = await grant(provider)
    await refresh(provider, row)
    answer = await refresh(provider, row)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")
    found = await stats(provider)
    assert (found["reuses"], found["revoked_by_reuse"], found["refreshes"]) == (1, 1, 1)


async def test_calls_for_one_grant_at_once_are_seen(provider: httpx.AsyncClient) -> None:
    row = await grant(provider)
    await provider.patch("/admin/settings", json={"latency_s": 0.2})
    await asyncio.gather(refresh(provider, row), refresh(provider, row))
    assert (await stats(provider))["max_in_flight"] == 2
    assert (await provider.get("/stats/grants")).json()["one"]["max_in_flight"] == 2


async def test_a_resource_takes_a_good_access_token(provider: httpx.AsyncClient) -> None:
    row = await grant(provider, scope="read", old_access_token="dies")

    async def me(token: str | None, **query: str) -> httpx.Response:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        return await provider.get("/api/me", params=query, headers=headers)

    good = await me(row["access_token"])
    assert good.json() == {"account": "one", "scope": "read", "serial": 1}
    assert (await me(row["access_token"], scope="write")).status_code == 403
    nobody = await me(None)
    assert (nobody.status_code, nobody.headers["WWW-Authenticate"]) == (401, 'Bearer realm="api"')
    assert 'error="invalid_token"' in (await me("stale")).headers["WWW-Authenticate"]
    await refresh(provider, row)
    assert (await me(row["access_token"])).status_code == 401


async def test_an_owner_revokes(provider: httpx.AsyncClient) -> None:
    row = await grant(provider)
    assert (await provider.post("/admin/grants/one/revoke")).status_code == 200
    assert (await refresh(provider, row)).json()["error"] == "invalid_grant"
    assert (await provider.post("/admin/grants/none/revoke")).status_code == 404
    assert (await stats(provider))["revoked_by_owner"] == 1


async def test_grants_are_made_in_bulk_as_rows_of_an_accounts_file(provider: httpx.AsyncClient) -> None:
    wanted = {"count": 500, "prefix": "load-", "like": {"lifetime_s": 20, "client_auth": "basic"}}
    rows = (await provider.post("/admin/grants", json=wanted)).json()["grants"]
    assert [rows[0]["id"], rows[-1]["id"], len(rows)] == ["load-1", "load-500", 500]
    assert rows[0]["token_url"] == f"{provider.base_url}/token"
    assert (rows[0]["client_auth"], rows[0]["expires_in"]) == ("basic", 20)
    assert (await stats(provider))["grants"] == 500


@pytest.mark.parametrize("wanted", [{"grants": [{"id": "a b"}]}, {"count": 1, "like": {"lifetime": 3}}, []])
async def test_what_can_not_be_a_grant_is_named(provider: httpx.AsyncClient, wanted: object) -> None:
    assert (await provider.post("/admin/grants", json=wanted)).status_code == 422


async def test_a_web_page_can_not_ask_for_anything(provider: httpx.AsyncClient) -> None:
    """A browser sends text/plain to another origin without asking, and application/json only after."""
    answer = await provider.post("/admin/grants", content=b"{}", headers={"Content-Type": "text/plain"})
    assert answer.status_code == 415


@pytest.mark.parametrize(
    ("kind", "spent"), [("drop_before_commit", False), ("reset", False), ("drop_after_commit", True)]
)
async def test_a_cut_connection(provider: httpx.AsyncClient, kind: str, *, spent: bool) -> None:
    row = await grant(provider)
    await fault(provider, kind)
    with pytest.raises(httpx.TransportError):
        await refresh(provider, row)
    assert (await stats(provider))["refreshes"] == int(spent)
    assert (await refresh(provider, row)).status_code == (400 if spent else 200)


@pytest.mark.parametrize(
    ("kind", "status", "spent"),
    [("unavailable", 503, False), ("rate_limited", 429, False), ("garbage", 200, True)],
)
async def test_an_answer_that_is_none(
    provider: httpx.AsyncClient, kind: str, status: int, *, spent: bool
) -> None:
    row = await grant(provider)
    await fault(provider, kind, retry_after_s=7)
    answer = await refresh(provider, row)
    assert answer.status_code == status
    assert answer.headers.get("Retry-After") == ("7" if status == 429 else None)
    if kind == "garbage":
        with pytest.raises(ValueError):
            answer.json()
    assert (await stats(provider))["refreshes"] == int(spent)


async def test_an_answer_that_comes_too_late(provider: httpx.AsyncClient) -> None:
    row = await grant(provider)
    await fault(provider, "hang", delay_s=30)
    with pytest.raises(httpx.ReadTimeout):
        await provider.post("/token", data={"grant_type": "refresh_token", **_secrets(row)}, timeout=0.3)
    assert (await stats(provider))["refreshes"] == 1


def _secrets(row: dict[str, Any]) -> dict[str, str]:
    return {name: row[name] for name in ("client_id", "client_secret", "refresh_token")}


async def test_faults_are_listed_and_ended(provider: httpx.AsyncClient) -> None:
    await grant(provider)
    await fault(provider, "unavailable")
    assert (await provider.get("/admin/faults")).json()["faults"][0]["happened"] == 0
    assert (await provider.delete("/admin/faults")).json() == {"faults": []}


@pytest.mark.e2e
def test_as_a_process_it_says_where_it_is_and_ends_on_sigterm(tmp_path: Path) -> None:
    (tmp_path / "grants.json").write_text(json.dumps({"grants": [{"id": "one"}]}))
    process = subprocess.Popen(
        [sys.executable, "-m", "worker.local.demo.provider", "--grants", str(tmp_path / "grants.json")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    said = json.loads(process.stdout.readline())
    assert said["pid"] == process.pid
    assert httpx.get(f"{said['url']}/stats", trust_env=False).json()["grants"] == 1
    process.terminate()
    _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (0, "")


async def test_a_consent_gives_a_code_that_is_good_once_for_its_client_and_verifier(
    provider: httpx.AsyncClient,
) -> None:
    verifier = "v" * 43
    asked = {
        "client_id": "platform",
        "redirect_uri": "http://127.0.0.1:9/back",
        "state": "s<1>",
        "code_challenge": base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest())
        .rstrip(b"=")
        .decode(),
    }
    page = await provider.get("/authorize", params=asked)
    assert 'value="s&lt;1&gt;"' in page.text
    denied = await provider.post("/authorize", data={**asked, "answer": "deny"})
    assert "error=access_denied" in denied.headers["location"]

    async def exchanged(**other: str) -> httpx.Response:
        back = await provider.post("/authorize", data={**asked, "answer": "allow"})
        code = parse_qs(urlsplit(back.headers["location"]).query)["code"][0]
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "code_verifier": verifier,
            "redirect_uri": asked["redirect_uri"],
            "client_id": "platform",
            "client_secret": "secret",
        }
        first = await provider.post("/token", data=form | other)
        if not other:
            assert (await provider.post("/token", data=form)).json()["error"] == "invalid_grant"
        return first

    row = (await exchanged()).json()
    assert row["expires_in"] == 3600
    refreshed = await refresh(provider, {**row, "client_id": "platform", "client_secret": "secret"})
    assert refreshed.status_code == 200
    for wrong in ({"code_verifier": "w" * 43}, {"redirect_uri": "http://127.0.0.1:9/other"}):
        assert (await exchanged(**wrong)).json()["error"] == "invalid_grant"
    assert (await exchanged(client_secret="other")).status_code == 401
    for missing in ({**asked, "code_challenge": ""}, {**asked, "redirect_uri": "https://elsewhere.example"}):
        assert (await provider.get("/authorize", params=missing)).status_code == 400


async def test_a_consent_leaves_a_known_client_its_secret(provider: httpx.AsyncClient) -> None:
    row = await grant(provider, client_id="mine", client_secret="my-secret")
    asked = {"client_id": "mine", "redirect_uri": "http://127.0.0.1:9/back", "code_challenge": "c" * 43}
    back = await provider.post("/authorize", data={**asked, "answer": "allow"})
    assert "code=" in back.headers["location"]
    assert (await refresh(provider, row)).status_code == 200
