"""Keys of the API: sent, wrong, over, revoked, used up; and what the commands say of them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from models.tables.api_key import ApiScope, Credential
from models.tables.audit import Actor
from tests.integration.api.conftest import Desk
from worker.api import key_cache
from worker.db.intake.api_keys import ApiKeys


@pytest.mark.parametrize(
    "sent",
    [
        None,
        "",
        "Bearer",
        "Bearer x",
        "Basic dXNlcjpwYXNz",
        "Bearer rk_0123456789ab_wrong",
        "rk_0123456789ab_x",
        "Bearer rk_\u00e9_x",
    ],
)
async def test_a_request_without_a_valid_key_is_refused(desk: Desk, sent: str | None) -> None:
    headers = {} if sent is None else {b"Authorization": sent.encode("latin-1")}
    async with desk.stranger() as client:
        refused = await client.get("/v1/accounts", headers=headers)
    assert refused.status_code == 401
    assert refused.headers["www-authenticate"].startswith('Bearer realm="refreshd"')
    assert refused.json()["type"] == "/docs#problem-unauthenticated"


async def test_a_key_with_the_secret_of_another_one_is_refused(desk: Desk) -> None:
    one, two = (Credential.parse(desk.key()) for _ in range(2))
    assert one is not None
    assert two is not None
    async with desk.stranger() as client:
        headers = {"Authorization": f"Bearer {Credential(one.id, two.secret).to_text()}"}
        assert (await client.get("/v1/accounts", headers=headers)).status_code == 401


async def test_a_key_ends_when_it_is_over_and_when_it_is_revoked(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_cache, "FRESH_S", 0.0)
    keys = ApiKeys(desk.bench.runtime.engine)
    async with desk.client(expires_s=0.001) as over, desk.client(name="gone") as gone:
        assert (await gone.get("/v1/accounts")).status_code == 200
        assert keys.revoke("gone", actor=Actor("test", "test")) is not None
        assert (await over.get("/v1/accounts")).status_code == 401
        assert (await gone.get("/v1/accounts")).status_code == 401


async def test_a_key_that_is_used_up_is_told_when_to_come_again(make_desk: Callable[..., Desk]) -> None:
    desk = make_desk(requests_per_s=0.2)
    async with desk.client() as client:
        answers = [await client.get("/v1/accounts") for _ in range(3)]
        other = desk.client()
    assert [one.status_code for one in answers] == [200, 200, 429]
    assert answers[0].headers["ratelimit-policy"] == '"key";q=2;w=10'
    assert answers[0].headers["ratelimit"].startswith('"key";r=1;t=')
    assert answers[2].headers["ratelimit"].startswith('"key";r=0;t=')
    assert 1 <= int(answers[2].headers["retry-after"]) <= 5
    async with other:
        assert (await other.get("/v1/accounts")).status_code == 200


async def test_a_stored_key_is_a_hash_and_its_use_is_noted(desk: Desk) -> None:
    async with desk.client(ApiScope.ACCOUNTS_READ, name="reader") as client:
        sent = Credential.parse(client.headers["Authorization"].removeprefix("Bearer "))
        await client.get("/v1/accounts")
    assert sent is not None
    (found,) = ApiKeys(desk.bench.runtime.engine).all()
    assert sent.secret not in repr(found.model_dump())
    assert found.used_at is not None


async def test_admin_is_good_for_every_scope(desk: Desk) -> None:
    async with desk.client(ApiScope.ADMIN) as client:
        assert (await client.get("/v1/accounts")).status_code == 200
        assert (await client.get("/v1/clients")).json() == {"clients": []}
