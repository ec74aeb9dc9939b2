"""One edit of a client's secret brings every account back that its end had stopped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from refreshd_reader import Reader
from tests.support.fleet import Fleet
from tests.support.imported import import_accounts, refreshd
from tests.support.providers.grants import refresh_token
from tests.support.waiting import wait_until
from tests.support.world import World

IDS: Final = [f"acct-{number:02}" for number in range(50)]
#: The client is refused, one gate holds its accounts, and each is told so.
DEADLINE_S: Final = 120.0


def write(path: Path, text: str) -> str:
    path.write_text(text)
    return f"@{path}"


def test_fifty_misconfigured_accounts_come_back_with_one_edit(
    world: World, fleet: Fleet, tmp_path: Path
) -> None:
    provider, secret = world.provider, tmp_path / "secret.txt"
    provider.latency_s, provider.client_secret = 0.05, "new-secret"
    provider.grant(IDS)
    refreshd(
        world, "clients", "add", "crm", "--provider", "scripted", "--token-url", provider.token_url,
        "--client-id", "client", "--client-secret", write(secret, "old-secret"),
    )  # fmt: skip
    rows = [
        {
            "id": account,
            "client": "crm",
            "refresh_token": refresh_token(account, 0),
            "labels": {"tenant": "t1"},
        }
        for account in IDS
    ]
    import_accounts(world, rows, tmp_path)
    fleet.worker()
    fleet.beat()
    fleet.wait_ready()
    # Those that a gate holds have not been refused themselves.
    wait_until(lambda: stopped(world), "every account is refused or held", DEADLINE_S)
    assert provider.refreshes == 0

    edited = json.loads(
        refreshd(world, "clients", "edit", "crm", f"client_secret={write(secret, 'new-secret')}", "--json")
    )

    assert edited["accounts"] == len(IDS)
    wait_until(lambda: all(map(world.is_published, IDS)), "every token is published", DEADLINE_S)
    assert {one.status for one in world.accounts().values()} == {"active"}
    assert provider.refreshes == len(IDS)
    with Reader.from_url(world.environment["REFRESHD_REDIS_URL"]) as reader:
        assert reader.get(IDS[7]).access_token


def stopped(world: World) -> bool:
    accounts = world.accounts().values()
    return all(one.status == "misconfigured" or one.held_by is not None for one in accounts)
