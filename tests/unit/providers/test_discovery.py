"""From an address to an authorization server: where documents stand, what is believed, and what is refused."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import httpx
import pytest

from models.providers import ClientAuth, Provider
from worker.providers.discovery.discover import Discovered, discover
from worker.providers.discovery.entry import client_auth, entry_of, name_of
from worker.providers.discovery.fetch import DocumentClient
from worker.providers.discovery.metadata import (
    DiscoveryFailed,
    Failure,
    ResourceMetadata,
    ServerMetadata,
    challenge_params,
    resource_metadata_urls,
    server_metadata_urls,
)
from worker.providers.egress import Egress

ISSUER = "https://as.example.com"
TENANT = "https://as.example.com/tenants/acme"
MCP = "https://mcp.example.com/mcp"
WELL_KNOWN = "/.well-known/oauth-authorization-server"

Reply = httpx.Response | Callable[[httpx.Request], httpx.Response]


def server_document(issuer: str = ISSUER, **more: object) -> dict[str, object]:
    return {
        "issuer": issuer,
        "token_endpoint": f"{issuer}/token",
        "authorization_endpoint": f"{issuer}/authorize",
        **more,
    }


def resource_document(resource: str = MCP, *servers: str, **more: object) -> dict[str, object]:
    return {"resource": resource, "authorization_servers": list(servers or (ISSUER,)), **more}


@dataclass
class World:
    """Servers by URL; every other address answers 404."""

    replies: Mapping[str, Reply]
    asked: list[str] = field(default_factory=list)

    def handle(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(str(request.url))
        assert request.method == "GET"
        reply = self.replies.get(str(request.url), httpx.Response(404))
        return reply if isinstance(reply, httpx.Response) else reply(request)

    def discover(self, address: str, *, egress: Egress | None = None) -> Discovered:
        async def ask() -> Discovered:
            client = DocumentClient(transport=httpx.MockTransport(self.handle), egress=egress or Egress())
            return await discover(client, address)

        return asyncio.run(ask())

    def failure(self, address: str) -> DiscoveryFailed:
        with pytest.raises(DiscoveryFailed) as raised:
            self.discover(address)
        return raised.value


def found_at(url: str, document: Mapping[str, object]) -> dict[str, Reply]:
    return {url: httpx.Response(200, json=dict(document))}


def challenge(header: str) -> httpx.Response:
    return httpx.Response(401, headers={"www-authenticate": header})


@pytest.mark.parametrize(
    ("issuer", "urls"),
    [
        (ISSUER, [f"{ISSUER}{WELL_KNOWN}", f"{ISSUER}/.well-known/openid-configuration"]),
        (f"{ISSUER}/", [f"{ISSUER}{WELL_KNOWN}", f"{ISSUER}/.well-known/openid-configuration"]),
        (
            TENANT,
            [
                f"{ISSUER}{WELL_KNOWN}/tenants/acme",
                f"{ISSUER}/.well-known/openid-configuration/tenants/acme",
                f"{TENANT}/.well-known/openid-configuration",
            ],
        ),
    ],
)
def test_metadata_of_an_issuer_stands_where_the_standards_put_it(issuer: str, urls: list[str]) -> None:
    assert server_metadata_urls(issuer) == urls


@pytest.mark.parametrize(
    ("resource", "paths"),
    [
        (MCP, ["/.well-known/oauth-protected-resource/mcp", "/.well-known/oauth-protected-resource"]),
        ("https://mcp.example.com/", ["/.well-known/oauth-protected-resource"]),
    ],
)
def test_metadata_of_a_resource_stands_under_its_path_or_its_host(resource: str, paths: list[str]) -> None:
    assert resource_metadata_urls(resource) == [f"https://mcp.example.com{path}" for path in paths]


@pytest.mark.parametrize(
    ("header", "params"),
    [
        ('Bearer resource_metadata="https://h/x"', {"resource_metadata": "https://h/x"}),
        ("Bearer resource_metadata=https://h/x", {"resource_metadata": "https://h/x"}),
        (
            'Basic realm="a, b", Bearer error="invalid_token", scope="read write"',
            {"realm": "a, b", "error": "invalid_token", "scope": "read write"},
        ),
        (r'Bearer realm="say \"hi\""', {"realm": 'say "hi"'}),
        ("Bearer", {}),
        ("", {}),
    ],
)
def test_parameters_of_a_challenge(header: str, params: dict[str, str]) -> None:
    assert challenge_params(header) == params


@pytest.mark.parametrize("number", [0, 1, 2])
def test_an_issuer_is_found_at_each_of_its_places(number: int) -> None:
    url = server_metadata_urls(TENANT)[number]
    found = World(found_at(url, server_document(TENANT))).discover(TENANT)
    assert (found.server.token_endpoint, found.server.source) == (f"{TENANT}/token", url)
    assert found.resource is None


@pytest.mark.parametrize(
    "address",
    [
        f"{ISSUER}{WELL_KNOWN}/tenants/acme",
        f"{TENANT}/.well-known/openid-configuration",
    ],
)
def test_the_address_of_a_document_stands_for_its_issuer(address: str) -> None:
    found = World(found_at(server_metadata_urls(TENANT)[0], server_document(TENANT))).discover(address)
    assert found.server.issuer == TENANT


def test_the_slash_of_an_issuer_without_a_path_makes_no_difference() -> None:
    document = server_document(f"{ISSUER}/", token_endpoint=f"{ISSUER}/token")
    assert World(found_at(f"{ISSUER}{WELL_KNOWN}", document)).discover(ISSUER).server.issuer == f"{ISSUER}/"


@pytest.mark.parametrize("named", ["https://evil.example.com", f"{ISSUER}/other", None, 5])
def test_a_document_of_another_issuer_is_refused(named: object) -> None:
    failed = World(found_at(f"{ISSUER}{WELL_KNOWN}", server_document() | {"issuer": named})).failure(ISSUER)
    assert failed.failure is Failure.WRONG_ISSUER
    assert ISSUER in str(failed)


@pytest.mark.parametrize(
    ("document", "failure"),
    [
        ({"issuer": ISSUER}, Failure.NO_TOKEN_ENDPOINT),
        (server_document(token_endpoint=["x"]), Failure.NO_TOKEN_ENDPOINT),
        (server_document(token_endpoint="http://as.example.com/token"), Failure.UNSAFE_URL),
        (server_document(authorization_endpoint="javascript:alert(1)"), Failure.UNSAFE_URL),
        (server_document(token_endpoint="https://user:pw@as.example.com/token"), Failure.UNSAFE_URL),
    ],
)
def test_endpoints_obey_the_rules_of_token_urls(document: dict[str, object], failure: Failure) -> None:
    failed = World(found_at(f"{ISSUER}{WELL_KNOWN}", document)).failure(ISSUER)
    assert failed.failure is failure
    assert "pw" not in str(failed)


def test_a_resource_names_its_metadata_in_its_challenge() -> None:
    metadata = "https://mcp.example.com/meta"
    replies = {
        MCP: challenge(f'Bearer resource_metadata="{metadata}", scope="tools:call"'),
        **found_at(metadata, resource_document(scopes_supported=["tools:call", "admin"])),
        **found_at(f"{ISSUER}{WELL_KNOWN}", server_document()),
    }
    found = World(replies).discover(MCP)
    assert found.resource is not None
    assert (found.resource.resource, found.server.issuer, found.challenge_scope) == (
        MCP,
        ISSUER,
        "tools:call",
    )


@pytest.mark.parametrize("number", [0, 1])
def test_a_resource_without_a_challenge_is_found_at_its_well_known_paths(number: int) -> None:
    named = (MCP, "https://mcp.example.com")[number]
    replies = {
        MCP: httpx.Response(405),
        **found_at(resource_metadata_urls(MCP)[number], resource_document(named)),
        **found_at(f"{ISSUER}{WELL_KNOWN}", server_document()),
    }
    found = World(replies).discover(MCP)
    assert found.resource is not None
    assert found.resource.resource == named


def test_a_resource_from_before_its_metadata_has_its_server_at_the_root_of_its_host() -> None:
    root = "https://mcp.example.com"
    found = World(found_at(f"{root}{WELL_KNOWN}", server_document(root))).discover(MCP)
    assert (found.server.issuer, found.resource) == (root, None)


def test_a_document_of_the_root_under_a_path_does_not_hide_the_resource() -> None:
    root = "https://mcp.example.com"
    replies = {
        **found_at(f"{root}{WELL_KNOWN}/mcp", server_document(root)),
        **found_at(resource_metadata_urls(MCP)[0], resource_document(MCP, root)),
        **found_at(f"{root}{WELL_KNOWN}", server_document(root)),
    }
    assert World(replies).discover(MCP).server.issuer == root


@pytest.mark.parametrize(
    "resource",
    [
        "https://other.example.com/mcp",
        "https://mcp.example.com/mc",
        "https://mcp.example.com/mcp/deeper",
        None,
    ],
)
def test_metadata_of_another_resource_is_refused(resource: object) -> None:
    replies = found_at(resource_metadata_urls(MCP)[0], resource_document() | {"resource": resource})
    assert World(replies).failure(MCP).failure is Failure.RESOURCE_MISMATCH


def test_a_resource_without_an_authorization_server_is_said_to_have_none() -> None:
    replies = found_at(resource_metadata_urls(MCP)[0], {"resource": MCP, "authorization_servers": []})
    assert World(replies).failure(MCP).failure is Failure.NO_AUTHORIZATION_SERVER


def test_the_first_authorization_server_that_can_be_used_is_taken() -> None:
    replies = {
        **found_at(
            resource_metadata_urls(MCP)[0], resource_document(MCP, "https://gone.example.com", ISSUER)
        ),
        **found_at(f"{ISSUER}{WELL_KNOWN}", server_document()),
    }
    assert World(replies).discover(MCP).server.issuer == ISSUER


def test_a_page_that_answers_every_path_is_no_metadata() -> None:
    class Page(dict[str, Reply]):
        def get(self, _url: str, _default: object = None) -> httpx.Response:
            return httpx.Response(200, html="<html>app</html>")

    failed = World(Page()).failure(MCP)
    assert failed.failure is Failure.NO_METADATA
    assert any("no JSON object" in note for note in failed.__notes__)


def test_nothing_is_found_and_what_was_asked_is_listed_in_order() -> None:
    somewhere = World({})
    failed = somewhere.failure(MCP)
    assert failed.failure is Failure.NO_METADATA
    assert [note.rpartition(": ")[0] for note in failed.__notes__] == somewhere.asked
    assert len(set(somewhere.asked)) == len(somewhere.asked)


def test_a_redirect_is_followed_on_the_same_host_alone() -> None:
    url = f"{ISSUER}{WELL_KNOWN}"
    stays = {url: httpx.Response(301, headers={"location": "/moved"})}
    moved = World({**stays, **found_at(f"{ISSUER}/moved", server_document())}).discover(ISSUER)
    assert moved.server.issuer == ISSUER
    leaves = {url: httpx.Response(302, headers={"location": f"https://evil.example.com{WELL_KNOWN}"})}
    elsewhere = World({**leaves, **found_at(f"https://evil.example.com{WELL_KNOWN}", server_document())})
    failed = elsewhere.failure(ISSUER)
    assert failed.failure is Failure.UNSAFE_URL
    assert not any("evil" in one for one in elsewhere.asked)


@pytest.mark.parametrize("location", ["//[::1", "https://as.example.com:abc/", "https://xn--a.com/"])
def test_a_redirect_to_what_can_t_be_read_as_a_url_is_refused(location: str) -> None:
    answer = httpx.Response(302, headers={"location": location})
    failed = World({f"{ISSUER}{WELL_KNOWN}": answer}).failure(ISSUER)
    assert failed.failure is Failure.UNSAFE_URL
    assert "can't be read as a URL" in str(failed)


@pytest.mark.parametrize("odd", ["https://[::1", "https://e\u2100x.com/", "https://as.example.com\0"])
def test_a_document_that_names_what_is_no_issuer_is_refused(odd: str) -> None:
    world = World({f"{ISSUER}{WELL_KNOWN}": httpx.Response(200, json=server_document() | {"issuer": odd})})
    assert world.failure(ISSUER).failure is Failure.WRONG_ISSUER


def test_scopes_that_no_database_stores_are_left_out() -> None:
    document = server_document(scopes_supported=["a\0b", "fine", "line\nbreak"])
    found = World({f"{ISSUER}{WELL_KNOWN}": httpx.Response(200, json=document)}).discover(ISSUER)
    assert found.server.scopes_supported == ("fine",)


def test_redirects_without_end_end() -> None:
    replies = {f"{ISSUER}{WELL_KNOWN}": httpx.Response(302, headers={"location": f"{ISSUER}{WELL_KNOWN}"})}
    assert World(replies).failure(ISSUER).failure is Failure.UNREACHABLE


@pytest.mark.parametrize(
    "address", ["http://as.example.com", "ftp://as.example.com", "as.example.com", "https://"]
)
def test_an_address_that_may_not_be_asked_is_refused_before_it_is(address: str) -> None:
    somewhere = World({})
    assert somewhere.failure(address).failure is Failure.UNSAFE_URL
    assert somewhere.asked == []


def test_a_body_beyond_every_limit_is_no_document() -> None:
    deep = b'{"a":' * 40 + b"1" + b"}" * 40
    large = b'{"issuer": "' + b"x" * (1024 * 1024) + b'"}'
    url = f"{ISSUER}{WELL_KNOWN}"
    assert World({url: httpx.Response(200, content=deep)}).failure(ISSUER).failure is Failure.NO_METADATA
    assert World({url: httpx.Response(200, content=large)}).failure(ISSUER).failure is Failure.UNREACHABLE


@pytest.mark.parametrize(
    ("methods", "auth"),
    [
        ((), ClientAuth.BASIC),
        (("client_secret_post",), ClientAuth.BODY),
        (("none", "client_secret_post"), ClientAuth.BODY),
        (("none",), ClientAuth.NONE),
        (("private_key_jwt", "tls_client_auth"), ClientAuth.PRIVATE_KEY_JWT),
        (("something_new",), None),
    ],
)
def test_the_way_to_authenticate_is_one_that_the_server_takes(
    methods: tuple[str, ...], auth: ClientAuth | None
) -> None:
    document = server_document() | (
        {"token_endpoint_auth_methods_supported": list(methods)} if methods else {}
    )
    assert client_auth(ServerMetadata.read(document, issuer=ISSUER, source="s")) is auth


def test_the_entry_is_a_provider_that_can_be_used() -> None:
    document = server_document(
        scopes_supported=["openid", "offline_access"],
        device_authorization_endpoint=f"{ISSUER}/device",
        revocation_endpoint=f"{ISSUER}/revoke",
    )
    replies = {
        **found_at(resource_metadata_urls(MCP)[0], resource_document(scopes_supported=["tools"])),
        **found_at(f"{ISSUER}{WELL_KNOWN}", document),
    }
    found = World(replies).discover(MCP)
    provider = Provider.model_validate({"name": name_of(found), **entry_of(found)})
    assert provider.name == "as.example.com"
    assert (provider.token_url, provider.authorize_url) == (f"{ISSUER}/token", f"{ISSUER}/authorize")
    assert (provider.device_url, provider.revocation_url) == (f"{ISSUER}/device", f"{ISSUER}/revoke")
    assert (provider.scopes, provider.offline_scope) == (("tools",), "offline_access")
    assert provider.resource == MCP  # RFC 8707
    assert provider.authorize_params == {"prompt": "consent"}  # OpenID Connect Core section 11
    assert provider.allowed_hosts.admit("as.example.com")
    assert not provider.allowed_hosts.admit("mcp.example.com")


def test_a_resource_is_that_of_a_path_above_or_the_very_one() -> None:
    document = resource_document("https://MCP.example.com:443/")
    assert ResourceMetadata.read(document, asked=MCP, source="s").authorization_servers == (ISSUER,)
