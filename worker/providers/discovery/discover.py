"""From an address to an authorization server: what is asked, in which order, and what came of each question."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

from msgspec import Struct, field

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

#: A resource may name several servers; the first that can be used is taken, out of so many.
_SERVERS_MAX: Final = 5
#: An issuer that is typed as the address of its document.
_WELL_KNOWN: Final = "/.well-known/"


class NotAResource(DiscoveryFailed):
    """The address is no resource that says where its tokens come from."""


class Trail(Struct):
    """What was asked, and what came of it, in order."""

    steps: list[tuple[str, str]] = field(default_factory=list)

    def add(self, url: str, words: str) -> None:
        self.steps.append((url, words))


class Discovered(Struct, frozen=True):
    """An authorization server, and the resource that led to it (None: the address was the issuer's own)."""

    server: ServerMetadata
    resource: ResourceMetadata | None
    #: What the resource's challenge asks for (RFC 6750 section 3).
    challenge_scope: str | None
    trail: Trail


async def discover(client: DocumentClient, address: str) -> Discovered:
    """Find the authorization server behind an address: an issuer's, a document's, or a resource's such as an MCP server.

    A challenge that names the resource's metadata decides (RFC 9728 section 5.1); without one the address is tried as an issuer,
    then as a resource.

    Raises:
        DiscoveryFailed: there is none that can be used; its notes are what was asked, and what came of it.
    """
    trail = Trail()
    try:
        challenge = await _challenge(client, client.check(address, "URL"), trail)
        if "resource_metadata" in challenge:
            return await _of_resource(client, address, challenge, trail)
        try:
            return Discovered(await of_issuer(client, _issuer_of(address), trail), None, None, trail)
        except DiscoveryFailed as failed:
            if failed.failure not in {Failure.NO_METADATA, Failure.WRONG_ISSUER}:
                raise
            with suppress(NotAResource):
                return await _of_resource(client, address, challenge, trail)
            raise
    except DiscoveryFailed as failed:
        for url, words in trail.steps:
            failed.add_note(f"{url}: {words}")
        raise


async def of_resource(client: DocumentClient, resource: str) -> Discovered:
    """Find the authorization server of a protected resource, and of no issuer of the same address.

    Raises:
        DiscoveryFailed: it names none that can be used; its notes are what was asked, and what came of it.
    """
    trail = Trail()
    try:
        challenge = await _challenge(client, client.check(resource, "URL"), trail)
        return await _of_resource(client, resource, challenge, trail)
    except DiscoveryFailed as failed:
        for url, words in trail.steps:
            failed.add_note(f"{url}: {words}")
        raise


async def of_issuer(client: DocumentClient, issuer: str, trail: Trail) -> ServerMetadata:
    """Read an issuer's metadata.

    Raises:
        DiscoveryFailed: there is none, it is another's, or it names URLs that credentials may not go to.
    """
    for url in server_metadata_urls(issuer):
        document = await _document(client, url, trail)
        if document is None:
            continue
        server = ServerMetadata.read(document, issuer=issuer, source=url)
        for name, endpoint in server.endpoints.items():
            client.check(endpoint, f"{url}: {name}")
            check_literal(endpoint, f"{url}: {name}")
        return server
    raise DiscoveryFailed(
        Failure.NO_METADATA, f"{issuer}: publishes no metadata of an authorization server (RFC 8414)"
    )


def check_literal(text: str, field: str) -> None:
    """Raise for text that would be read as a template: a server must not ask for an account's fields.

    Raises:
        DiscoveryFailed: a variable stands in it.
    """
    if "${" in text or " || " in text:
        raise DiscoveryFailed(Failure.UNSAFE_URL, f"{field}: holds '${{' or ' || '; expected a plain URL")


async def _challenge(client: DocumentClient, resource: str, trail: Trail) -> dict[str, str]:
    """Return the parameters of the challenge with which a resource refuses a request without a token; empty: it has none."""
    status, headers = await client.head_of(resource)
    challenge = {}
    if status == HTTPStatus.UNAUTHORIZED:
        challenge = challenge_params(", ".join(headers.get_list("www-authenticate")))
    trail.add(resource, f"HTTP {status}{', with a challenge' if challenge else ''}")
    return challenge


async def _of_resource(
    client: DocumentClient, resource: str, challenge: Mapping[str, str], trail: Trail
) -> Discovered:
    named = challenge.get("resource_metadata")
    for url in [named] if named else resource_metadata_urls(resource):
        found = await _document(client, url, trail)
        if found is not None:
            metadata = ResourceMetadata.read(found, asked=resource, source=url)
            server = await _first_usable(client, metadata, trail)
            return Discovered(server, metadata, challenge.get("scope"), trail)
    at = urlsplit(resource)
    if named is None and at.path.rstrip("/"):
        # Resources from before RFC 9728 have their authorization server at their host's root.
        with suppress(DiscoveryFailed):
            server = await of_issuer(client, f"{at.scheme}://{at.netloc}", trail)
            return Discovered(server, None, challenge.get("scope"), trail)
    raise NotAResource(
        Failure.NO_METADATA,
        f"{resource}: no metadata, neither of an authorization server (RFC 8414) nor of a resource (RFC 9728)",
    )


async def _first_usable(client: DocumentClient, metadata: ResourceMetadata, trail: Trail) -> ServerMetadata:
    failed: DiscoveryFailed | None = None
    for issuer in metadata.authorization_servers[:_SERVERS_MAX]:
        try:
            client.check(issuer, f"{metadata.source}: authorization_servers")
            return await of_issuer(client, issuer, trail)
        except DiscoveryFailed as error:
            failed = failed or error
    assert failed is not None  # noqa: S101  (the list is not empty)
    raise failed


async def _document(client: DocumentClient, url: str, trail: Trail) -> Mapping[str, object] | None:
    """Fetch a document; None where there is none at this place: single-page applications answer every path with their page.

    Raises:
        DiscoveryFailed: the server can't be asked.
    """
    fetched = await client.get(url)
    if fetched.status != HTTPStatus.OK:
        trail.add(url, f"HTTP {fetched.status}")
        return None
    trail.add(url, "found" if fetched.document is not None else "no JSON object")
    return fetched.document


def _issuer_of(address: str) -> str:
    """Return the issuer in an address: people paste the document's."""
    url = urlsplit(address)
    before, well_known, rest = url.path.partition(_WELL_KNOWN)
    if not well_known or rest.startswith("oauth-protected-resource"):
        return address
    _, _, behind = rest.partition("/")
    return f"{url.scheme}://{url.netloc}{before}{'/' + behind if behind else ''}"
