"""A fleet that speaks TLS to Redis and to the provider, and shows certificates to both, by settings alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx

from tests.e2e.conftest import MakeWorld
from tests.support.command import refreshd
from tests.support.fleet import Fleet
from tests.support.providers.certificates import Authority
from tests.support.providers.grants import refresh_token
from tests.support.providers.scripted_provider import ScriptedProvider
from tests.support.providers.tls_relay import tls_in_front_of, tls_redis
from tests.support.server_process import free_port
from tests.support.waiting import wait_until


def test_worker_beat_flower_and_commands_work_over_mutual_tls(
    make_world: MakeWorld,
    provider: ScriptedProvider,
    authority: Authority,
    ca_file: Path,
    sqlite_url: str,
    redis_url: str,
    tmp_path: Path,
) -> None:
    """A server that asks for certificates and hangs up on who shows none: whatever worked, worked with them."""
    certificate, key = authority.sign("worker").written(tmp_path, "worker")
    options = f"ssl_ca_certs={ca_file}&ssl_certfile={certificate}&ssl_keyfile={key}"
    host = authority.sign("localhost")
    asking = authority.server_context(tmp_path, host, asks_client=True)
    provider.grant(["acct"])
    with (
        tls_redis(redis_url, authority, tmp_path, host, asks_client=True) as url,
        tls_in_front_of(provider.port, asking) as token_port,
    ):
        world = make_world(sqlite_url, f"{url}?{options}", ca_file=str(ca_file), flower_port=str(free_port()))
        environment: dict[str, Any] = world.environment
        with Fleet(environment, tmp_path) as fleet, browser(environment) as pages:
            worker, flower = fleet.worker(concurrency=2), fleet.flower()
            fleet.wait_ready()
            login = flower_login(tmp_path)
            wait_until(
                lambda: worker.name in pages.get("/workers?json=1", auth=login).text, "Flower sees the worker"
            )
            row = imported(authority, f"https://localhost:{token_port}/token")
            (tmp_path / "accounts.jsonl").write_text(json.dumps(row))
            with refreshd(tmp_path, "accounts", "import", "accounts.jsonl", **environment) as command:
                assert command.wait() == 0, command.output
            fleet.beat().wait_ready()

            wait_until(lambda: provider.refreshes == 1 and world.is_published("acct"), "it is refreshed")
            wait_until(lambda: '"SUCCESS"' in tasks(pages, login), "Flower sees that it is")
            lengths = pages.get("/api/queues/length", auth=login)
            assert lengths.status_code == 200, flower.said[-3000:]
            assert {queue["name"] for queue in lengths.json()["active_queues"]} >= {"refresh", "urgent"}
            assert pages.get("/broker", auth=login).status_code == 200
            assert worker.alive
    assert world.agrees_with_the_provider("acct")


def imported(authority: Authority, token_url: str) -> dict[str, Any]:
    """Return an account's row of an accounts file: it proves itself by a certificate of its own (RFC 8705)."""
    shown = authority.sign("acct")
    return {
        "id": "acct",
        "client_id": "client",
        "client_auth": "tls_client_auth",
        "refresh_token": refresh_token("acct", 0),
        "token_url": token_url,
        "custom_fields": {"client_certificate": shown.certificate, "client_key": shown.key},
    }


def browser(environment: dict[str, Any]) -> httpx.Client:
    port = environment["REFRESHD_FLOWER_PORT"]
    return httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=60)


def flower_login(folder: Path) -> tuple[str, str]:
    user, _, password = (folder / "flower.login").read_text().strip().partition(":")
    return user, password


def tasks(pages: httpx.Client, login: tuple[str, str]) -> str:
    return json.dumps(pages.get("/api/tasks?taskname=refreshd.refresh", auth=login).json())
