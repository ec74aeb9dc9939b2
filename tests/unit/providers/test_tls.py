"""TLS: whom a call trusts, what it shows, and what a refusal is."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from models.answer import Answer, Fault
from tests.support.providers.certificates import Authority, Signed
from tests.support.providers.provider_double import account, provider
from tests.support.providers.provider_server import Server, answering, response, serving
from worker.providers.client import ProviderClient

BODY = b'{"access_token": "AT-2"}'

#: Reads a client's certificate and key, in a process that has a terminal; returns what is wrong with them.
AT_A_TERMINAL = """
import fcntl, json, sys, termios
from models.token import Secret
from worker.providers.request.draft import ClientCertificate, InvalidRequest
from worker.providers.tls import TLSContexts

shown = json.load(sys.stdin)
fcntl.ioctl(2, termios.TIOCSCTTY, 0)
try:
    TLSContexts(None).client(ClientCertificate(*map(Secret, shown)))
except InvalidRequest as error:
    print(error)
"""


@asynccontextmanager
async def trusting(ca_file: Path | None) -> AsyncIterator[ProviderClient]:
    client = ProviderClient(ca_file=ca_file)
    try:
        yield client
    finally:
        await client.aclose()


def tls_server(
    authority: Authority, folder: Path, signed: Signed, *, asks_client: bool = False
) -> AbstractAsyncContextManager[Server]:
    context = authority.server_context(folder, signed, asks_client=asks_client)
    return serving(answering(response(BODY)), tls=context)


async def call(client: ProviderClient, url: str, shown: Signed | None = None) -> Answer:
    custom = {} if shown is None else {"client_certificate": shown.certificate, "client_key": shown.key}
    of = provider(client_auth="mtls" if shown else "body")
    return await client.call(
        account(of, token_url=url, custom=custom), deadline=asyncio.get_running_loop().time() + 10
    )


async def test_a_ca_file_is_trusted(authority: Authority, ca_file: Path, tmp_path: Path) -> None:
    async with (
        tls_server(authority, tmp_path, authority.sign("localhost")) as server,
        trusting(ca_file) as client,
    ):
        assert (await call(client, server.url)).token is not None


async def test_nobody_else_is_trusted(authority: Authority, tmp_path: Path) -> None:
    async with (
        tls_server(authority, tmp_path, authority.sign("localhost")) as server,
        trusting(None) as client,
    ):
        answer = await call(client, server.url)
        assert (answer.fault, answer.spent) == (Fault.TLS, False)
        assert answer.fault_detail == "unable to get local issuer certificate"
        assert server.requests == []


@pytest.mark.parametrize(
    ("host", "ends_in", "detail"),
    [
        ("localhost", timedelta(days=-1), "certificate has expired"),
        ("other.example.com", timedelta(days=1), "Hostname mismatch"),
    ],
)
async def test_a_certificate_that_does_not_hold_is_refused(
    authority: Authority, ca_file: Path, tmp_path: Path, host: str, ends_in: timedelta, detail: str
) -> None:
    signed = authority.sign(host, ends_in=ends_in)
    async with tls_server(authority, tmp_path, signed) as server, trusting(ca_file) as client:
        answer = await call(client, server.url)
        assert (answer.fault, answer.spent) == (Fault.TLS, False)
        assert detail in (answer.fault_detail or "")


async def test_a_server_without_tls_is_a_tls_fault(ca_file: Path) -> None:
    async with serving(answering(b""), greeting=response(BODY)) as server, trusting(ca_file) as client:
        answer = await call(client, server.url.replace("http:", "https:"))
        assert (answer.fault, answer.spent) == (Fault.TLS, False)


async def test_accounts_show_their_own_certificates(
    authority: Authority, ca_file: Path, tmp_path: Path
) -> None:
    """Two accounts at one host never share a connection: it stands for one of them."""
    signed = authority.sign("localhost")
    first, second = authority.sign("first"), authority.sign("second")
    async with (
        tls_server(authority, tmp_path, signed, asks_client=True) as server,
        trusting(ca_file) as client,
    ):
        for shown in (first, second, first, second):
            assert (await call(client, server.url, shown)).token is not None
        assert server.connections == 2


async def test_a_client_certificate_that_is_refused_is_no_outage(
    authority: Authority, ca_file: Path, tmp_path: Path
) -> None:
    """The server says so by a TLS alert; asyncio's own servers hang up before it is out, so this one is none."""
    context = authority.server_context(tmp_path, authority.sign("localhost"), asks_client=True)
    context.maximum_version = ssl.TLSVersion.TLSv1_2

    def refuse(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection, pytest.raises(ssl.SSLError), context.wrap_socket(connection, server_side=True):
            pass

    with socket.create_server(("127.0.0.1", 0)) as listener:
        refusing = asyncio.get_running_loop().run_in_executor(None, refuse, listener)
        async with trusting(ca_file) as client:
            url = f"https://localhost:{listener.getsockname()[1]}/token"
            answer = await call(client, url, Authority("another authority").sign("stranger"))
        await refusing
    assert (answer.fault, answer.spent) == (Fault.CLIENT_CERTIFICATE, False)
    assert answer.fault_detail == "TLSV1_ALERT_UNKNOWN_CA"


@pytest.mark.parametrize("broken", ["certificate", "key", "pair"])
async def test_a_certificate_that_can_not_be_read_is_named(
    authority: Authority, ca_file: Path, broken: str
) -> None:
    good, other = authority.sign("a"), authority.sign("b")
    shown = {
        "certificate": Signed("nonsense", good.key),
        "key": Signed(good.certificate, "nonsense"),
        "pair": Signed(good.certificate, other.key),
    }[broken]
    async with trusting(ca_file) as client:
        answer = await call(client, "https://localhost/token", shown)
    assert answer.fault is Fault.UNBUILDABLE
    assert "client_certificate, client_key" in (answer.fault_detail or "")


@pytest.mark.e2e
def test_the_password_of_a_key_is_asked_of_nobody(authority: Authority) -> None:
    good = authority.sign("a")
    key = serialization.load_pem_private_key(good.key.encode(), None).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"correct"),
    )
    person, terminal = pty.openpty()
    os.write(person, b"mistaken\n")  # a process that asks goes on as well, and is found out below

    done = subprocess.run(
        [sys.executable, "-c", AT_A_TERMINAL],
        input=json.dumps([good.certificate, key.decode()]),
        stdout=subprocess.PIPE,
        stderr=terminal,
        start_new_session=True,
        text=True,
        check=True,
    )

    os.write(terminal, b"the end\n")
    seen = b""
    while b"the end" not in seen:
        seen += os.read(person, 4096)
    os.close(person)
    os.close(terminal)
    assert "pass phrase" not in seen.decode()
    assert "its unencrypted private key are expected" in done.stdout
