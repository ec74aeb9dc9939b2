"""From an address to what an account is authorized with: its issuer's metadata are stored, and a client is found or registered."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final
from urllib.parse import urldefrag, urlsplit

from msgspec import Struct

from worker.accounts.clients.editor import UnknownClient
from worker.context import AppContext
from worker.db.intake.issuers import Registrations
from worker.intake.issuer_metadata import Undiscovered
from worker.intake.registrations import (
    FORGOTTEN_AFTER_S,
    is_kept_alive,
    registering_alone,
    store_registration,
)
from worker.intake.services import AccountServices
from worker.policy.gate_signals import CLIENT_REASONS
from worker.providers.discovery.client_document import CALLBACK_PATH, described_by, document_url
from worker.providers.discovery.discover import Discovered, Trail, of_issuer, of_resource
from worker.providers.discovery.entry import scopes
from worker.providers.discovery.fetch import DocumentClient
from worker.providers.discovery.metadata import DiscoveryFailed, Failure, ServerMetadata, bare_issuer
from worker.providers.discovery.registration import CLIENT_NAME, Registered, register_lasting
from worker.providers.registry import ISSUER

_S256: Final = "S256"  # RFC 7636 section 4.3
_LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})
#: All documents and the registration together, seconds: a worker's task that takes much longer is ended.
_LIMIT_S: Final = 30.0


class Address(Struct, frozen=True):
    """What leads to an authorization server: a protected resource's URL, such as an MCP server's, or the issuer itself."""

    url: str
    is_issuer: bool = False


class Prepared(Struct, frozen=True):
    """What an account of a resource is authorized with."""

    client: str
    issuer: str
    #: None: the address was the issuer's.
    resource: str | None
    scopes: tuple[str, ...]
    #: The one that the client is registered with; None: it was registered by hand.
    redirect_uri: str | None
    #: The client was registered just now.
    is_new: bool


class Redirect(Struct, frozen=True):
    """Where consents of a new registration come back to, and which registrations that are there serve it.

    Args:
        make: gives the redirect URI of a new registration.
        base_url: where browsers and servers reach the API, for consents that come back there; None: they come back to a
            port of this machine.
        name: what people see on consent pages of a new registration.
    """

    make: Callable[[], str]
    base_url: str | None = None
    name: str = CLIENT_NAME

    @classmethod
    def to_api(cls, base_url: str, name: str) -> Redirect:
        """Return the redirect of Connect."""
        return cls(lambda: f"{base_url}{CALLBACK_PATH}", base_url, name)

    def serves(self, redirect_uri: str) -> bool:
        """Return whether consents may come back to what a client is registered with."""
        if self.base_url is not None:
            return redirect_uri == self.make()
        at = urlsplit(redirect_uri)
        return at.hostname in _LOOPBACK and not at.path.endswith(CALLBACK_PATH)

    @property
    def document_url(self) -> str | None:
        """Return the client id that is the URL of our own document; None: no server could fetch it."""
        return None if self.base_url is None else document_url(self.base_url)


def prepare(
    services: AccountServices, address: Address, *, client: str | None, redirect: Redirect
) -> Prepared:
    """Find the authorization server of an address, and a client for it.

    Args:
        services: the stores.
        address: the resource's URL, or the issuer.
        client: a stored client to use; None: one of this issuer that is there, else a new one.
        redirect: where consents come back to.

    Raises:
        Undiscovered: the address leads to no authorization server, or that registers no client.
        UnknownClient: no client has this name.
    """
    return asyncio.run(_prepare(services, address, client, redirect))


async def _prepare(
    services: AccountServices, address: Address, client: str | None, redirect: Redirect
) -> Prepared:
    here = services.stores
    documents = here.document_client()
    try:
        async with asyncio.timeout(_LIMIT_S):
            found = await _discovered(documents, address)
            server = found.server
            here.issuer_reader.keep_checked(server)
            asked = tuple(scopes(found))
            if client is not None:
                return _prepared(found, address, _named(services, client, server), None, asked)
            known = _known(here, server, redirect)
            if known is not None:
                return _prepared(found, address, *known, asked)
            async with registering_alone(here, server.issuer):
                known = _known(here, server, redirect)
                if known is not None:
                    return _prepared(found, address, *known, asked)
                redirect_uri = redirect.make()
                registered = await _registered(documents, server, redirect, redirect_uri, asked)
                name = store_registration(services, server, registered, redirect_uri)
            return _prepared(found, address, name, redirect_uri, asked, is_new=True)
    except DiscoveryFailed as failed:
        raise Undiscovered(failed) from None
    except TimeoutError:
        words = f"{address.url}: no whole answer within {_LIMIT_S:g} s"
        raise Undiscovered(DiscoveryFailed(Failure.UNREACHABLE, words)) from None
    finally:
        await documents.aclose()


async def _discovered(documents: DocumentClient, address: Address) -> Discovered:
    documents.check(address.url, "issuer" if address.is_issuer else "resource")
    if not address.is_issuer:
        found = await of_resource(documents, urldefrag(address.url).url)
        _check_pkce(found.server)
        return found
    trail = Trail()
    try:
        return Discovered(await of_issuer(documents, address.url, trail), None, None, trail)
    except DiscoveryFailed as failed:
        for url, words in trail.steps:
            failed.add_note(f"{url}: {words}")
        raise


async def _registered(
    documents: DocumentClient,
    server: ServerMetadata,
    redirect: Redirect,
    redirect_uri: str,
    asked: tuple[str, ...],
) -> Registered:
    """Return a new client: the one that our own document describes, where the server reads such documents, else a registered one."""
    document = redirect.document_url
    if document is not None and server.reads_client_documents:
        return described_by(document)
    # One registration serves all accounts, and servers may bind a client to the scopes that it is registered with.
    wanted = server.scopes_supported or asked
    return await register_lasting(
        documents, server, redirect_uri=redirect_uri, scopes=wanted, name=redirect.name
    )


def _known(here: AppContext, server: ServerMetadata, redirect: Redirect) -> tuple[str, str | None] | None:
    """Return a client of an issuer, and the redirect URI that it is registered with; one that was registered by hand comes first."""
    issuer, registrations = bare_issuer(server.issuer), Registrations(here.engine)
    registered = {one.client: one for one in registrations.with_issuer(issuer)}
    clients = [
        one
        for one in here.clients.all()
        if one.provider == ISSUER and bare_issuer(one.issuer or "") == issuer
    ]
    for client in clients:
        if client.name not in registered:
            return client.name, None
    now, by_name = here.clock.now(), {one.name: one for one in clients}
    refused = registrations.refused(CLIENT_REASONS)
    for name, registration in registered.items():
        served = (
            redirect.serves(registration.redirect_uri) and now < refused.get(name, now) + FORGOTTEN_AFTER_S
        )
        if served and name in by_name and is_kept_alive(by_name[name], registration, now=now):
            return name, registration.redirect_uri
    return None


def _check_pkce(server: ServerMetadata) -> None:
    if _S256 not in server.code_challenge_methods_supported:
        raise DiscoveryFailed(
            Failure.PKCE_UNSUPPORTED,
            f"{server.source}: code_challenge_methods_supported does not name {_S256}",
        )


def _prepared(
    found: Discovered,
    address: Address,
    client: str,
    redirect_uri: str | None,
    asked: tuple[str, ...],
    *,
    is_new: bool = False,
) -> Prepared:
    resource = None if address.is_issuer else urldefrag(address.url).url
    if found.resource is not None:
        resource = found.resource.resource
    return Prepared(client, bare_issuer(found.server.issuer), resource, asked, redirect_uri, is_new)


def _named(services: AccountServices, name: str, server: ServerMetadata) -> str:
    """Return a client's name, checked: its secret goes to no other issuer.

    Raises:
        UnknownClient: there is none.
        DiscoveryFailed: it is another issuer's.
    """
    client = services.stores.clients.find([name]).get(name)
    if client is None:
        raise UnknownClient(name)
    if client.provider != ISSUER or bare_issuer(client.issuer or "") != bare_issuer(server.issuer):
        of = client.issuer or client.provider
        raise DiscoveryFailed(
            Failure.WRONG_ISSUER, f"client {name}: is one of {of}; expected one of {server.issuer}"
        )
    return name
