"""Clients that were registered with an issuer (RFC 7591): stored, and renewed (RFC 7592)."""

from __future__ import annotations

import asyncio
import hashlib
import re
import secrets
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final
from urllib.parse import urlsplit

from models.providers import ClientAuth
from models.tables.client import Client
from models.tables.issuer import REGISTRATION, ClientRegistration
from models.token import Secret
from worker.accounts.clients.editor import ClientApplied, ClientExists, UnknownClient
from worker.accounts.clients.entry import CLIENT_SECRET, ClientEntry
from worker.accounts.token_precedence import ImportOutcome
from worker.context import AppContext
from worker.db.fleet_locks import FleetLock
from worker.db.intake.issuers import Registrations
from worker.errors import RefreshdError
from worker.intake.issuer_metadata import Undiscovered
from worker.intake.services import AccountServices
from worker.providers.discovery.fetch import DocumentClient
from worker.providers.discovery.metadata import DiscoveryFailed, Failure, ServerMetadata, bare_issuer
from worker.providers.discovery.registration import (
    CLIENT_NAME,
    Current,
    Registered,
    read_current,
    register_lasting,
    renew,
)
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


class Unmanaged(RefreshdError):
    """A client's registration can't be renewed from here: it was made by hand, or its server lets nobody manage it."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"client {name}: nothing is stored by which its registration could be renewed (RFC 7592); have its server give "
            f"the client a new secret, then `refreshd clients edit {name} client_secret=@FILE`"
        )


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
        Unmanaged: it was not registered from here, or its server lets nobody manage it.
        Undiscovered: the server refused.
    """
    return asyncio.run(_renewed(services, name))


async def _renewed(services: AccountServices, name: str) -> ClientApplied:
    here = services.stores
    if name not in here.clients.find([name]):
        raise UnknownClient(name)
    documents = here.document_client()
    try:
        async with registering_alone(here, _found(here, name).issuer):
            return await renew_with(services, documents, name)
    except DiscoveryFailed as failed:
        raise Undiscovered(failed) from None
    finally:
        await documents.aclose()


async def renew_with(
    services: AccountServices, documents: DocumentClient, name: str, current: Current | None = None
) -> ClientApplied:
    """Renew a client's registration with its server; nobody else registers or renews with it meanwhile.

    What an answer alone has, its token and its secret, is stored before the next question: the ones before it may be spent.

    Args:
        services: the stores.
        documents: sends documents.
        name: the client's.
        current: the registration as it was read just now, and is stored; None: it is read first.

    Raises:
        Unmanaged: it was not registered from here, or its server lets nobody manage it.
        DiscoveryFailed: the server refused.
    """
    here = services.stores
    server = stored_server(here, _found(here, name).issuer)
    first = None
    if current is None:
        current, first = await current_of(services, documents, name)
    registration = _found(here, name)
    uri, token = managed(here, name, registration)
    client = here.clients.find([name]).get(name)
    auth = None if client is None or client.client_auth is None else ClientAuth(client.client_auth)
    fresh = await renew(documents, server, current, uri=uri, access_token=token, auth=auth)
    _keep(here, registration, uri=fresh.uri, token=fresh.access_token)
    applied = services.client_editor.edit(_renewed_entry(name, server, fresh))
    return first if first is not None and applied.outcome is ImportOutcome.UNCHANGED else applied


async def current_of(
    services: AccountServices, documents: DocumentClient, name: str
) -> tuple[Current, ClientApplied | None]:
    """Read a client's registration at its server, and store what is new in it.

    Returns:
        The registration, and what became of the client where its secret is another one; else None.

    Raises:
        Forgotten: the server does not know the client, or not by the token that is stored.
        Unmanaged: it was not registered from here, or its server lets nobody manage it.
        DiscoveryFailed: the server does not say.
    """
    here = services.stores
    registration = _found(here, name)
    uri, token = managed(here, name, registration)
    server = stored_server(here, registration.issuer)
    current = await read_current(documents, server, uri=uri, access_token=token)
    _keep(here, registration, uri=current.uri, token=current.access_token)
    client = here.clients.find([name]).get(name)
    if client is None or current.client_secret is None or client.client_auth == ClientAuth.NONE:
        return current, None
    entry = ClientEntry(name, {}, {CLIENT_SECRET: current.client_secret})
    if _is_stored(here, client, current.client_secret):
        return current, None
    entry.settings["secret_expires_at"] = current.secret_expires_at
    return current, services.client_editor.edit(entry)


def _is_stored(here: AppContext, client: Client, secret: Secret) -> bool:
    try:
        return here.sealer.client_secret(client) == secret
    except RefreshdError:  # it does not open: whatever is given takes its place
        return False


def _found(here: AppContext, name: str) -> ClientRegistration:
    """Return a client's registration, as it is stored now.

    Raises:
        Unmanaged: it was not registered from here.
    """
    registration = Registrations(here.engine).find(name)
    if registration is None:
        raise Unmanaged(name)
    return registration


def _keep(
    here: AppContext, registration: ClientRegistration, *, uri: str | None, token: Secret | None
) -> None:
    """Store what an answer has of a registration; None: it stays as it is."""
    if token is None and uri in {None, registration.registration_client_uri}:
        return
    if token is not None:
        registration.registration_access_token_sealed = here.cipher.seal(
            token, account=registration.client, field=REGISTRATION
        )
    registration.registration_client_uri = uri or registration.registration_client_uri
    Registrations(here.engine).save(registration)


def _renewed_entry(name: str, server: ServerMetadata, fresh: Registered) -> ClientEntry:
    """Return a client as its renewal has it; a secret that the answer leaves out stays."""
    entry = client_entry(name, server, fresh)
    if fresh.client_secret is None and fresh.client_auth is not ClientAuth.NONE:
        del entry.secrets[CLIENT_SECRET]
        if not fresh.names_end:
            del entry.settings["secret_expires_at"]
    return entry


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
        Unmanaged: the server lets nobody manage it.
    """
    uri = None if registration is None else registration.registration_client_uri
    sealed = None if registration is None else registration.registration_access_token_sealed
    if uri is None or sealed is None:
        raise Unmanaged(name)
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
        {CLIENT_SECRET: registered.client_secret},
    )
