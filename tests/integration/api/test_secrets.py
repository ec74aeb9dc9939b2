"""No secret that is sent comes out again: not in an answer, a problem, a log line, a metric, the history or the audit trail."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.integration.api.conftest import Desk
from worker.log import configure_logging

MARK = "mkS3cretPlanted"
_ACCOUNT = {"provider": "acme", "token_url": "https://provider.example/token", "client_id": "c"}
_JSON = {"content-type": "application/json"}

#: method, path, body; each holds the mark where a secret belongs, or where one lands by mistake.
INPUTS: list[tuple[str, str, Any]] = [
    (
        "PUT",
        "/v1/accounts/new-1",
        {**_ACCOUNT, "client_secret": MARK, "access_token": MARK, "refresh_token": MARK},
    ),
    ("PUT", "/v1/accounts/new-1", {**_ACCOUNT, "custom_fields": {"a": MARK}}),
    ("PUT", "/v1/accounts/new-2", {**_ACCOUNT, "client_secret": [MARK]}),
    ("PUT", "/v1/accounts/new-2", {**_ACCOUNT, "refresh_token": {"a": MARK}}),
    ("PUT", "/v1/accounts/new-2", {**_ACCOUNT, "refresh_token": MARK + "\n", "nothing": MARK}),
    (
        "PUT",
        "/v1/accounts/new-2",
        {**_ACCOUNT, "token_url": f"https://user:{MARK}@provider.example/token?k={MARK}"},
    ),
    ("PUT", "/v1/accounts/new-2", f'{{"refresh_token": "{MARK}", '),
    ("PUT", "/v1/accounts/new-2", f'"{MARK}"'),
    ("PUT", "/v1/accounts/acct-1/grant", {"access_token": MARK, "refresh_token": MARK, "expires_in": 3600}),
    ("PUT", "/v1/accounts/acct-1/grant", {"access_token": [MARK], "refresh_token": MARK}),
    ("PUT", "/v1/accounts/acct-1/grant", {"access_token": MARK, "refresh_token": MARK, "verify": MARK}),
    ("PUT", "/v1/accounts/acct-1/grant", {"access_token": MARK, "refresh_token": MARK, "verify": True}),
    (
        "PUT",
        "/v1/accounts/acct-2/grant",
        {"access_token": MARK, "refresh_token": f"{MARK}2", "id_token": MARK},
    ),
    ("PUT", "/v1/accounts/absent/grant", {"access_token": MARK, "refresh_token": MARK}),
    ("PATCH", "/v1/accounts/acct-1", {"client_secret": MARK}),
    (
        "PUT",
        "/v1/clients/c-1",
        {"provider": "acme", "client_id": "c", "client_secret": MARK, "return_urls": 5},
    ),
    ("PUT", "/v1/clients/c-1", {"provider": "acme", "client_id": "c", "client_secret": MARK}),
    ("POST", "/v1/accounts/acct-1/refresh", {"force": MARK}),
    ("POST", "/v1/accounts/acct-1/token/rejected", {"generation": MARK}),
    ("GET", "/v1/accounts/acct-1", None),
    ("GET", "/v1/accounts/acct-1/history", None),
    ("GET", "/v1/accounts/acct-1/explain", None),
    ("GET", "/v1/accounts", None),
    ("GET", "/v1/clients/c-1", None),
    ("GET", "/metrics", None),
    ("GET", "/openapi.json", None),
]


async def test_no_planted_secret_comes_out(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("DEBUG")
    for number in (1, 2):
        desk.bench.add(f"acct-{number}", refresh_token=f"r-{number}")
    shown: list[str] = []
    async with desk.client() as client, desk.stranger() as stranger:
        for method, path, body in INPUTS:
            raw = body if isinstance(body, str) else None if body is None else json.dumps(body)
            answer = await client.request(method, path, content=raw, headers=_JSON if raw else {})
            assert answer.status_code < 500, answer.text
            shown.append(f"{method} {path} {answer.text} {answer.headers}")
        lines = "\n".join(
            [json.dumps({**_ACCOUNT, "id": "b-1", "refresh_token": MARK}), f"{{{MARK}", f'"{MARK}"']
        )
        batch = await client.post(
            "/v1/accounts:batch", content=lines, headers={"content-type": "application/x-ndjson"}
        )
        wrong = await stranger.get("/v1/accounts", headers={"Authorization": f"Bearer rk_0123_{MARK}"})
        key = await client.get(f"/v1/accounts?cursor={MARK}&label.{MARK}={MARK}")
        shown += [batch.text, wrong.text, key.text]
        # A published token is what this route is for.
        given = await client.get("/v1/accounts/acct-1/token")
        metrics = await stranger.get("/metrics")
    assert given.status_code == 200
    assert MARK not in metrics.text
    for text in shown:
        assert MARK not in text, text
    runtime = desk.bench.runtime
    trail = [entry.model_dump() for entry in runtime.audit.latest(limit=1000)]
    attempts = [
        vars(one) for name in ("acct-1", "acct-2", "new-1") for one in runtime.history.of(name, limit=99)
    ]
    assert trail
    assert MARK not in repr(trail) + repr(attempts)
    captured = capsys.readouterr()
    assert "api_request" in captured.err
    assert MARK not in captured.out + captured.err


async def test_what_stands_in_the_database_is_sealed(desk: Desk) -> None:
    desk.bench.add("acct-1")
    async with desk.client() as client:
        await client.put("/v1/accounts/acct-1/grant", json={"access_token": MARK, "refresh_token": MARK})
    row = desk.bench.account("acct-1")
    assert MARK not in repr(row.model_dump())
    assert str(row.refresh_token_sealed).startswith("h1.")
