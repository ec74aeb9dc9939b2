"""From an address to what an account is authorized with: its issuer's metadata are stored, and a client is found or registered."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import urldefrag, urlsplit

from models.issuer import REGISTRATION, ClientRegistration
from models.token import Secret
from worker.accounts.client_entry import ClientEntry
from worker.accounts.clients import ClientApplied, ClientExists, UnknownClient
from worker.context import AppContext
from worker.db.issuers import Registrations
from worker.errors import RefreshdError
from worker.intake.issuer_metadata import Undiscovered
from worker.intake.services import AccountServices
from worker.issuers.stored import bare_issuer
from worker.providers.discovery.discover import Discovered, of_resource
from worker.providers.discovery.entry import scopes
from worker.providers.discovery.metadata import DiscoveryFailed, Failure, ServerMetadata
from worker.providers.discovery.registration import Registered, register, renew
from worker.providers.registry import ISSUER

_S256: Final = "S256"  # RFC 7636 section 4.3
_NO_NAME: Final = re.compile(r"[^A-Za-z0-9._-]+")
#: Two commands that register at once take other names.
_NAMES_MAX: Final = 1000


@dataclass(frozen=True, slots=True)
class Prepared:
    """What an account of a resource is authorized with."""

    client: str
    issuer: str
    resource: str
    scopes: tuple[str, ...]
    #: The one that the client is registered with; None: it was registered by hand.
    redirect_uri: str | None
    #: The client was registered just now.
    is_new: bool


def prepare(
    services: AccountServices, address: str, *, client: str | None, redirect_uri: Callable[[], str]
) -> Prepared:
    """Find the authorization server of a resource, such as an MCP server, and a client for it.

    Args:
        services: the stores.
        address: the resource's URL.
        client: a stored client to use; None: one that was registered with this issuer, else a new one.
        redirect_uri: gives the redirect URI of a new registration.

    Raises:
        Undiscovered: the address leads to no authorization server, or that registers no client.
        UnknownClient: no client has this name.
    """
    return asyncio.run(_prepare(services, address, client, redirect_uri))


async def _prepare(
    services: AccountServices, address: str, client: str | None, redirect_uri: Callable[[], str]
) -> Prepared:
    here = services.stores
    documents = here.document_client()
    try:
        found = await of_resource(documents, urldefrag(address).url)
        server = found.server
        _check_pkce(server)
        here.issuer_reader.keep_checked(server)
        asked = tuple(scopes(found))
        if client is not None:
            return _prepared(found, address, _named(services, client, server), None, asked)
        known = _known(here, server)
        if known is not None:
            return _prepared(found, address, *known, asked)
        registering = redirect_uri()
        # One registration serves all accounts, and servers may bind a client to the scopes that it is registered with.
        registered = await register(
            documents, server, redirect_uri=registering, scopes=server.scopes_supported or asked
        )
    except DiscoveryFailed as failed:
        raise Undiscovered(failed) from None
    finally:
        await documents.aclose()
    name = _store(services, server, registered, registering)
    return _prepared(found, address, name, registering, asked, is_new=True)


def _known(here: AppContext, server: ServerMetadata) -> tuple[str, str | None] | None:
    """Return a client of an issuer, and the redirect URI that it is registered with; one that was registered by hand comes first."""
    issuer = bare_issuer(server.issuer)
    registered = {one.client: one.redirect_uri for one in Registrations(here.engine).with_issuer(issuer)}
    for client in here.clients.all():
        of_issuer = client.provider == ISSUER and bare_issuer(client.issuer or "") == issuer
        if of_issuer and client.name not in registered:
            return client.name, None
    return next(iter(registered.items()), None)


def _check_pkce(server: ServerMetadata) -> None:
    if _S256 not in server.code_challenge_methods_supported:
        raise DiscoveryFailed(
            Failure.PKCE_UNSUPPORTED,
            f"{server.source}: code_challenge_methods_supported does not name {_S256}",
        )


def _prepared(
    found: Discovered,
    address: str,
    client: str,
    redirect_uri: str | None,
    asked: tuple[str, ...],
    *,
    is_new: bool = False,
) -> Prepared:
    resource = found.resource.resource if found.resource is not None else urldefrag(address).url
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


def renewed(services: AccountServices, name: str) -> ClientApplied:
    """Renew a client's registration (RFC 7592): a secret that ends is replaced, its accounts keep their grants.

    Raises:
        UnknownClient: no client has this name.
        Undiscovered: it was not registered from here, or the server refused.
    """
    return asyncio.run(_renewed(services, name))


async def _renewed(services: AccountServices, name: str) -> ClientApplied:
    here = services.stores
    if name not in here.clients.find([name]):
        raise UnknownClient(name)
    documents = here.document_client()
    try:
        registration, uri, token = _kept_registration(here, name)
        server = _stored_server(here, registration.issuer)
        fresh = await renew(documents, server, uri=uri, access_token=token)
    except DiscoveryFailed as failed:
        raise Undiscovered(failed) from None
    finally:
        await documents.aclose()
    # First what only this answer has: the token before it may be spent.
    kept = replace(fresh, uri=fresh.uri or uri, access_token=fresh.access_token or token)
    Registrations(here.engine).save(registration_of(here, name, server, kept, registration.redirect_uri))
    return services.client_editor.edit(client_entry(name, server, fresh))


def _stored_server(here: AppContext, issuer: str) -> ServerMetadata:
    row = here.issuers.find(issuer)
    if row is None or row.document is None:
        raise DiscoveryFailed(
            Failure.NO_METADATA,
            f"{issuer}: its metadata are not stored; `refreshd providers discover {issuer} --keep`",
        )
    return ServerMetadata.of_text(row.document)


def _kept_registration(here: AppContext, name: str) -> tuple[ClientRegistration, str, Secret]:
    """Return a registration, where it is managed, and with what token.

    Raises:
        DiscoveryFailed: the server lets nobody manage it.
    """
    registration = Registrations(here.engine).find(name)
    uri = None if registration is None else registration.registration_client_uri
    sealed = None if registration is None else registration.registration_access_token_sealed
    if registration is None or uri is None or sealed is None:
        raise DiscoveryFailed(
            Failure.NO_REGISTRATION,
            f"client {name}: nothing is stored by which its registration could be renewed (RFC 7592); renew it at the server, "
            f"then `refreshd clients edit {name} client_secret=@FILE`",
        )
    token = here.cipher.open(sealed, account=name, field=REGISTRATION)
    return registration, uri, token


def _store(
    services: AccountServices, server: ServerMetadata, registered: Registered, redirect_uri: str
) -> str:
    """Store a registration and its client; return the client's name."""
    here = services.stores
    base = _NO_NAME.sub("-", urlsplit(server.issuer).netloc).strip("-.")[:100] or ISSUER
    for nth in range(1, _NAMES_MAX):
        name = base if nth == 1 else f"{base}-{nth}"
        if here.clients.find([name]):
            continue
        # Before the client: one without its registration could never be renewed.
        Registrations(here.engine).save(registration_of(here, name, server, registered, redirect_uri))
        try:
            services.client_editor.add(client_entry(name, server, registered))
        except ClientExists:
            continue
        return name
    raise RefreshdError(f"no free name for a client of {server.issuer}")


def registration_of(
    here: AppContext, name: str, server: ServerMetadata, registered: Registered, redirect_uri: str
) -> ClientRegistration:
    """Return a registration as it is stored."""
    token = registered.access_token
    sealed = None if token is None else here.cipher.seal(token, account=name, field=REGISTRATION)
    return ClientRegistration(
        client=name,
        issuer=bare_issuer(server.issuer),
        redirect_uri=redirect_uri,
        registration_client_uri=registered.uri,
        registration_access_token_sealed=sealed,
        registered_at=here.clock.now(),
    )


def client_entry(name: str, server: ServerMetadata, registered: Registered) -> ClientEntry:
    """Return the client of a registration."""
    return ClientEntry(
        name,
        {
            "provider": ISSUER,
            "issuer": bare_issuer(server.issuer),
            "client_id": registered.client_id,
            "client_auth": registered.client_auth.value,
            "secret_expires_at": registered.secret_expires_at,
        },
        {"client_secret": registered.client_secret},
    )
