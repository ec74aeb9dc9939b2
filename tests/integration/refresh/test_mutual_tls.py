"""A refresh that is proven by a certificate of the account's own (RFC 8705 section 2), from the row to Redis."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import parse_qs

import pytest
from sqlalchemy import update

from models.tables.account import Account, RefreshMethod, Status
from models.tables.attempt import Outcome, Trigger
from models.token import Secret
from tests.integration.conftest import Bench
from tests.support.providers.certificates import Authority, Signed
from tests.support.providers.provider_server import answering, response, serving
from worker.db.engine import writing
from worker.settings import Settings

BODY = b'{"access_token": "new-access", "refresh_token": "new-refresh", "expires_in": 3600}'


@pytest.fixture
def bench(settings: Settings, ca_file: Path) -> Iterator[Bench]:
    made = Bench(settings.model_copy(update={"ca_file": ca_file}))
    made.runtime.callers[RefreshMethod.BODY] = made.runtime.provider_client
    yield made
    made.runtime.close()


def sealed(bench: Bench, account: str, shown: Signed) -> str | None:
    fields = {"client_certificate": Secret(shown.certificate), "client_key": Secret(shown.key)}
    return bench.runtime.sealer.seal_custom_fields(account, fields)


def add(bench: Bench, account: str, url: str, shown: Signed) -> None:
    shown_by = sealed(bench, account, shown)
    bench.add(account, token_url=url, client_auth="mtls", client_id=account, custom_fields_sealed=shown_by)


async def test_each_account_proves_itself_by_its_own_certificate_and_no_secret_is_sent(
    bench: Bench, authority: Authority, tmp_path: Path
) -> None:
    context = authority.server_context(tmp_path, authority.sign("localhost"), asks_client=True)
    async with serving(answering(response(BODY)), tls=context) as server:
        for account in ("one", "two"):
            add(bench, account, server.url, authority.sign(account))

        results = await asyncio.to_thread(bench.refresh, "one", "two")

    assert {result.outcome for result in results.values()} == {Outcome.REFRESHED}
    sent = [parse_qs(request.partition(b"\r\n\r\n")[2].decode()) for request in server.requests]
    assert sorted(server.shown_by, key=str) == ["one", "two"]
    assert [form["client_id"] for form in sent] == [[name] for name in server.shown_by]
    assert all("client_secret" not in form for form in sent)
    for account in ("one", "two"):
        token = bench.token(account)
        assert token is not None
        assert token.access_token == "new-access"


@contextmanager
def one_call_at_a_time(context: ssl.SSLContext) -> Iterator[str]:
    """Serve from blocking sockets, whose TLS says why it refuses; asyncio's hangs up before that is out."""

    def serve(listener: socket.socket) -> None:
        with suppress(OSError):  # closed: the test is over
            while True:
                connection, _ = listener.accept()
                with (
                    connection,
                    suppress(ssl.SSLError),
                    context.wrap_socket(connection, server_side=True) as tls,
                ):
                    tls.recv(65536)
                    tls.sendall(response(BODY, "Connection: close"))

    with ThreadPoolExecutor(1) as thread, socket.create_server(("127.0.0.1", 0)) as listener:
        thread.submit(serve, listener)
        try:
            yield f"https://localhost:{listener.getsockname()[1]}/token"
        finally:
            listener.shutdown(socket.SHUT_RDWR)


def test_a_certificate_that_is_refused_costs_no_token_and_its_successor_is_taken(
    bench: Bench, authority: Authority, tmp_path: Path
) -> None:
    context = authority.server_context(tmp_path, authority.sign("localhost"), asks_client=True)
    # In TLS 1.3 the refusal crosses the request, and which one loopback sees first is chance.
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with one_call_at_a_time(context) as url:
        add(bench, "acct", url, Authority("another authority").sign("acct"))

        refused = bench.refresh()["acct"]

        assert (refused.outcome, refused.reason) == (Outcome.MISCONFIGURED, "client_certificate_refused")
        row = bench.account()
        assert (row.status, row.generation, row.claim_attempt) == (Status.MISCONFIGURED, 1, None)
        assert bench.runtime.sealer.open(row, "refresh_token") == Secret("old-refresh")

        with writing(bench.runtime.engine) as connection:
            connection.execute(
                update(Account).values(
                    custom_fields_sealed=sealed(bench, "acct", authority.sign("acct")),
                    config_version=row.config_version + 1,
                )
            )
        assert bench.refresh(trigger=Trigger.FORCED)["acct"].outcome == Outcome.REFRESHED
    assert bench.account().status == Status.ACTIVE
