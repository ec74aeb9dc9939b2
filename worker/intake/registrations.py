"""Clients that were registered with an issuer (RFC 7591): stored, and renewed (RFC 7592)."""

from __future__ import annotations

import asyncio
import hashlib
import re
import secrets
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Final
from urllib.parse import urlsplit

from models.tables.client import Client
from models.tables.issuer import REGISTRATION, ClientRegistration
from models.token import Secret
from worker.accounts.clients.editor import ClientApplied, ClientExists, UnknownClient
from worker.accounts.clients.entry import ClientEntry
from worker.context import AppContext
from worker.db.fleet_locks import FleetLock
from worker.db.intake.issuers import Registrations
from worker.errors import RefreshdError
from worker.intake.issuer_metadata import Undiscovered
from worker.intake.services import AccountServices
from worker.issuers.stored import bare_issuer
from worker.providers.discovery.fetch import DocumentClient
from worker.providers.discovery.metadata import DiscoveryFailed, Failure, ServerMetadata
from worker.providers.discovery.registration import CLIENT_NAME, Registered, register_lasting, renew
from worker.providers.registry import ISSUER
from worker.settings.connect import load_connect_settings

_NO_NAME: Final = re.compile(r"[^A-Za-z0-9._-]+")
#: Two commands that register at once take other names.
_NAMES_MAX: Final = 1000
#: A secret that ends sooner, and that nothing can renew, is given to no new account.
KEPT_S: Final = 7 * 86400.0
#: A server that says that it has forgotten a client may have its database back soon; after so long it is believed. New accounts
#: get another client by then.
FORGOTTEN_AFTER_S: Final = 3_600.0
#: A process that died while it registered is waited for so long.
_LOCK_S: Final = 60.0
_LOOK_S: Final = 0.2


def is_kept_alive(client: Client, registration: ClientRegistration, *, now: float) -> bool:
    """Return whether a client will serve accounts that are connected now: its secret does not end soon, or can be renewed."""
    ends_at = client.secret_expires_at
    return ends_at is None or ends_at > now + KEPT_S or registration.is_managed


@asynccontextmanager
async def registering_alone(here: AppContext, issuer: str) -> AsyncIterator[None]:
    """Be the only process that registers a client with an issuer, or renews one; another one is waited for."""
    name = f"registration {hashlib.sha256(bare_issuer(issuer).encode()).hexdigest()[:24]}"
    holder = f"{socket.gethostname()}/{secrets.token_hex(4)}"
    lock = FleetLock(here.engine, name, holder=holder, ttl_s=_LOCK_S)
    while True:
        if lock.take():
            break
        await asyncio.sleep(_LOOK_S)
    try:
        yield
    finally:
        lock.release()


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
        return await renew_with(services, documents, name)
    except DiscoveryFailed as failed:
        raise Undiscovered(failed) from None
    finally:
        await documents.aclose()


async def renew_with(services: AccountServices, documents: DocumentClient, name: str) -> ClientApplied:
    """Renew a client's registration with its server.

    Raises:
        DiscoveryFailed: it was not registered from here, or the server refused.
    """
    here = services.stores
    registration = Registrations(here.engine).find(name)
    uri, token = managed(here, name, registration)
    assert registration is not None  # noqa: S101  (else it were not managed)
    server = stored_server(here, registration.issuer)
    fresh = await renew(documents, server, uri=uri, access_token=token)
    # First what only this answer has: the token before it may be spent.
    kept = replace(fresh, uri=fresh.uri or uri, access_token=fresh.access_token or token)
    stored = registration_of(here, name, server, kept, registration.redirect_uri)
    stored.registered_at = registration.registered_at  # it is the same one
    Registrations(here.engine).save(stored)
    return services.client_editor.edit(client_entry(name, server, fresh))


async def register_again(
    services: AccountServices, documents: DocumentClient, registration: ClientRegistration
) -> ClientApplied:
    """Register a client anew that its server has forgotten, under its name: its accounts keep all but what was bound to its id.

    Raises:
        DiscoveryFailed: the server refused.
    """
    here = services.stores
    server = stored_server(here, registration.issuer)
    scopes = server.scopes_supported or Registrations(here.engine).scopes_of(registration.client)
    name = load_connect_settings().name or CLIENT_NAME
    fresh = await register_lasting(
        documents, server, redirect_uri=registration.redirect_uri, scopes=scopes, name=name
    )
    kept = registration_of(here, registration.client, server, fresh, registration.redirect_uri)
    Registrations(here.engine).save(kept)
    return services.client_editor.edit(client_entry(registration.client, server, fresh))


def stored_server(here: AppContext, issuer: str) -> ServerMetadata:
    """Return an issuer's metadata as they are stored.

    Raises:
        DiscoveryFailed: none are.
    """
    row = here.issuers.find(issuer)
    if row is None or row.document is None:
        raise DiscoveryFailed(
            Failure.NO_METADATA,
            f"{issuer}: its metadata are not stored; `refreshd providers discover {issuer} --keep`",
        )
    return ServerMetadata.of_text(row.document)


def managed(here: AppContext, name: str, registration: ClientRegistration | None) -> tuple[str, Secret]:
    """Return where a client's registration is managed, and with what token.

    Raises:
        DiscoveryFailed: the server lets nobody manage it.
    """
    uri = None if registration is None else registration.registration_client_uri
    sealed = None if registration is None else registration.registration_access_token_sealed
    if uri is None or sealed is None:
        raise DiscoveryFailed(
            Failure.NO_REGISTRATION,
            f"client {name}: nothing is stored by which its registration could be renewed (RFC 7592); renew it at the server, "
            f"then `refreshd clients edit {name} client_secret=@FILE`",
        )
    return uri, here.cipher.open(sealed, account=name, field=REGISTRATION)


def store_registration(
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
