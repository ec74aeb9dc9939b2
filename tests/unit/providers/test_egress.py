"""Where credentials may go: no private address where that is asked for, and through the proxy that is set."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvloop

from models.answer import Answer, Fault, Verdict
from models.callback import CallbackInput
from tests.support.providers.certificates import Authority
from tests.support.providers.connect_proxy import proxying
from tests.support.providers.provider_double import account, provider
from tests.support.providers.provider_server import answering, response, serving
from worker.callbacks.host.http_endpoint import EndpointClient
from worker.policy.verdicts.verdict import judge
from worker.providers.client import ProviderClient
from worker.providers.egress import AddressRefused, Egress, is_private

BODY = b'{"access_token": "AT-2"}'
PUBLIC_ONLY = Egress(block_private_networks=True)


@asynccontextmanager
async def client_of(
    egress: Egress, *, http: tuple[str, ...] = (), ca_file: Path | None = None
) -> AsyncIterator[ProviderClient]:
    client = ProviderClient(egress=egress, allow_http_hosts=http, ca_file=ca_file)
    try:
        yield client
    finally:
        await client.aclose()


async def call(client: ProviderClient, url: str) -> Answer:
    request = account(provider(hosts=["*"]), token_url=url)
    return await client.call(request, deadline=asyncio.get_running_loop().time() + 10)


@pytest.fixture
def resolving(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Have names resolve to one address after the other; returns the names that were asked for."""

    def of(*answers: str) -> list[str]:
        asked: list[str] = []
        left = list(answers)

        def getaddrinfo(host: str, port: int, *_: Any, **__: Any) -> list[Any]:
            asked.append(host)
            address = left.pop(0) if len(left) > 1 else left[0]
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            where = (address, port, 0, 0) if ":" in address else (address, port)
            return [(family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", where)]

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        return asked

    return of


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0"),
        *("224.0.0.1", "255.255.255.255", "240.0.0.1", "198.18.0.1", "192.0.0.8", "203.0.113.9"),
        *("::1", "::", "fe80::1", "fc00::1", "fec0::1", "ff02::1", "2001:db8::1"),
        *("::ffff:127.0.0.1", "::127.0.0.1", "::ffff:0:10.0.0.1", "64:ff9b::10.0.0.1", "64:ff9b:1::1"),
        *("2002:7f00:1::", "2002:a00:1::1", "2001:0:1::1"),
    ],
)
def test_what_is_not_on_the_public_internet_is_private(address: str) -> None:
    assert is_private(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "2002:808:808::1"]
)
def test_what_is_on_the_public_internet_is_not(address: str) -> None:
    assert not is_private(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "0x7f000001",
        "[::ffff:127.0.0.1]",
        "[::1]",
    ],
)
async def test_nothing_is_sent_to_a_private_address_in_whatever_form(host: str) -> None:
    async with serving(answering(response(BODY))) as server, client_of(PUBLIC_ONLY, http=(host,)) as client:
        answer = await call(client, f"http://{host}:{server.port}/token")
        assert (answer.fault, answer.spent) == (Fault.ADDRESS_REFUSED, False)
        assert "REFRESHD_ALLOW_PRIVATE_HOSTS" in (answer.fault_detail or "")
        assert server.connections == 0
    judged = judge(answer, ())
    assert (judged.verdict, judged.reason) == (Verdict.MISCONFIGURED, "private_address")


@pytest.mark.parametrize("host", ["2130706433", "0177.0.0.1", "127.1"])
async def test_numbers_that_are_no_host_are_not_even_asked_for(host: str) -> None:
    async with serving(answering(response(BODY))) as server, client_of(PUBLIC_ONLY, http=(host,)) as client:
        answer = await call(client, f"http://{host}:{server.port}/token")
        assert (answer.fault, server.connections) == (Fault.UNBUILDABLE, 0)


async def test_a_name_that_resolves_otherwise_a_moment_later_is_refused(
    resolving: Callable[..., list[str]],
) -> None:
    """What is judged is the address that is connected to; a lookup of our own before would have seen 192.0.2.7."""
    async with serving(answering(response(BODY))) as server:
        url = f"http://rebinding.example:{server.port}/token"
        asked = resolving("203.0.114.7", "127.0.0.1")
        assert socket.getaddrinfo("rebinding.example", 0)[0][4][0] == "203.0.114.7"
        async with client_of(PUBLIC_ONLY, http=("rebinding.example",)) as client:
            answer = await call(client, url)
        assert answer.fault is Fault.ADDRESS_REFUSED
        assert "127.0.0.1" in (answer.fault_detail or "")
        assert (server.connections, len(asked)) == (0, 2)


async def test_a_host_that_may_be_private_is_asked(resolving: Callable[..., list[str]]) -> None:
    egress = Egress(block_private_networks=True, allow_private_hosts=frozenset({"inside.example"}))
    async with (
        serving(answering(response(BODY))) as server,
        client_of(egress, http=("inside.example", "other.example")) as client,
    ):
        resolving("127.0.0.1")
        assert (await call(client, f"http://inside.example:{server.port}/token")).token is not None
        assert (
            await call(client, f"http://other.example:{server.port}/token")
        ).fault is Fault.ADDRESS_REFUSED
        assert server.connections == 1


async def test_a_callback_endpoint_in_a_private_network_is_refused() -> None:
    async with serving(answering(response(BODY))) as server:
        client = EndpointClient(
            ca_file=None, allow_http_hosts=("localhost",), now=lambda: 1.0, egress=PUBLIC_ONLY
        )
        reply = await client.call(
            server.url,
            "whsec_c2VjcmV0",
            CallbackInput(account_id="a"),
            deadline=asyncio.get_running_loop().time() + 5,
            on_send=lambda: None,
        )
        await client.aclose()
        assert reply.failure is not None
        assert reply.failure.fault is Fault.ADDRESS_REFUSED
        assert (reply.failure.fault_detail or "").startswith("url of the callback: ")
        assert server.connections == 0


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_call_goes_through_the_proxy_and_its_tls_ends_at_the_provider(
    tmp_path: Path, loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    """The proxy sees the host and its own password, nothing else. The provider's name is the proxy's to resolve."""

    async def tunnel() -> None:
        authority = Authority()
        (tmp_path / "ca.pem").write_text(authority.certificate)
        tls = authority.server_context(tmp_path, authority.sign("idp.example"))
        async with (
            serving(answering(response(BODY)), tls=tls) as server,
            proxying(server.port) as proxy,
            client_of(
                Egress(
                    block_private_networks=True,
                    proxies={"https": f"http://user:p%40ss@127.0.0.1:{proxy.port}"},
                ),
                ca_file=tmp_path / "ca.pem",
            ) as client,
        ):
            for _ in range(2):
                assert (await call(client, "https://idp.example/token")).token is not None
            assert len(proxy.heads) == 1
            assert proxy.heads[0].startswith(b"CONNECT idp.example:443 HTTP/1.1\r\n")
            assert b"Proxy-Authorization: Basic dXNlcjpwQHNz" in proxy.heads[0]
            assert b"proxy-authorization" not in server.requests[0].lower()
            assert b"refresh_token=" in server.requests[0]

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(tunnel())


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_proxy_can_be_asked_by_https_itself(
    tmp_path: Path, loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    """TLS to the provider inside TLS to the proxy."""

    async def tunnel() -> None:
        authority = Authority()
        (tmp_path / "ca.pem").write_text(authority.certificate)
        tls = authority.server_context(tmp_path, authority.sign("idp.example"))
        outer = authority.server_context(tmp_path, authority.sign("localhost"))
        async with (
            serving(answering(response(BODY)), tls=tls) as server,
            proxying(server.port, tls=outer) as proxy,
            client_of(
                Egress(proxies={"https": f"https://localhost:{proxy.port}"}), ca_file=tmp_path / "ca.pem"
            ) as client,
        ):
            assert (await call(client, "https://idp.example/token")).token is not None
            assert len(proxy.heads) == 1

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(tunnel())


async def test_plain_http_through_a_proxy_names_the_whole_url() -> None:
    """RFC 9112 section 3.2.2."""
    async with serving(answering(response(BODY))) as proxy:
        egress = Egress(proxies={"http": f"http://user:pass@127.0.0.1:{proxy.port}"})
        async with client_of(egress, http=("idp.example",)) as client:
            assert (await call(client, "http://idp.example/token")).token is not None
        assert proxy.requests[0].startswith(
            b"POST http://idp.example/token HTTP/1.1\r\nHost: idp.example\r\n"
        )
        assert b"Proxy-Authorization: Basic dXNlcjpwYXNz" in proxy.requests[0]


async def test_a_proxy_can_not_show_a_certificate_of_its_own(tmp_path: Path) -> None:
    authority = Authority()
    (tmp_path / "ca.pem").write_text(authority.certificate)
    tls = authority.server_context(tmp_path, authority.sign("other.example", ends_in=timedelta(days=1)))
    async with serving(answering(response(BODY)), tls=tls) as server, proxying(server.port) as proxy:
        egress = Egress(proxies={"https": f"http://127.0.0.1:{proxy.port}"})
        async with client_of(egress, ca_file=tmp_path / "ca.pem") as client:
            answer = await call(client, "https://idp.example/token")
        assert (answer.fault, answer.spent, server.requests) == (Fault.TLS, False, [])


async def test_a_proxy_that_refuses_is_no_answer_of_the_provider() -> None:
    refusal = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"
    async with proxying(0, refuses=refusal) as proxy:
        async with client_of(Egress(proxies={"https": f"http://127.0.0.1:{proxy.port}"})) as client:
            answer = await call(client, "https://idp.example/token")
        assert (answer.fault, answer.spent, answer.status) == (Fault.CONNECT, False, None)


@pytest.mark.parametrize(
    ("url", "no_proxy", "proxied"),
    [
        ("https://idp.example/token", "", True),
        ("https://idp.example/token", "idp.example", False),
        ("https://login.idp.example/token", ".idp.example", False),
        ("https://idp.example/token", "*", False),
        ("http://idp.example/token", "", False),
        ("https://localhost:8000/token", "", False),
        ("https://127.0.0.1:8000/token", "", False),
    ],
)
def test_no_proxy_and_loopback_go_direct(url: str, no_proxy: str, proxied: bool) -> None:
    egress = Egress(proxies={"https": "http://proxy.example:3128", "no": no_proxy})
    assert (egress.route(httpx.URL(url)).proxy is not None) is proxied


@pytest.mark.parametrize("host", ["10.0.0.1", "0x0a000001", "[fd00::1]"])
def test_through_a_proxy_an_address_that_stands_there_is_judged_all_the_same(host: str) -> None:
    egress = Egress(block_private_networks=True, proxies={"https": "http://proxy.example:3128"})
    with pytest.raises(AddressRefused, match="REFRESHD_BLOCK_PRIVATE_NETWORKS"):
        egress.route(httpx.URL(f"https://{host}/token"))


async def test_a_proxy_of_another_kind_is_named() -> None:
    async with client_of(Egress(proxies={"all": "socks5://proxy.example:1080"})) as client:
        answer = await call(client, "https://idp.example/token")
    assert answer.fault is Fault.UNBUILDABLE
    assert "only http:// and https:// proxies" in (answer.fault_detail or "")
