"""Providers by their issuer: metadata that are stored once, for all accounts of an issuer, and read again when they moved."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Iterable
from typing import Final
from urllib.parse import urlsplit

from msgspec import Struct
from pydantic import ValidationError

from models.providers import ClientAuth, Provider
from models.tables.issuer import IssuerMetadata
from worker.db.intake.issuers import Issuers
from worker.log import log
from worker.providers.discovery.discover import Discovered, Trail, of_issuer
from worker.providers.discovery.entry import client_auth, entry_of
from worker.providers.discovery.fetch import DocumentClient
from worker.providers.discovery.metadata import DiscoveryFailed, Failure, ServerMetadata, bare_issuer
from worker.providers.registry import ISSUER

#: A process looks at the table so seldom: whoever meets a moved endpoint reads the row at once.
_REMEMBERED_S: Final = 30.0
#: An issuer is asked no oftener, by all workers together: its endpoints moved or they did not.
AGAIN_S: Final = 60.0
#: All places of one issuer's document together, seconds.
READ_S: Final = 25.0
#: What credentials, tokens or codes are sent to.
_TRUSTED: Final = (
    "token_endpoint",
    "revocation_endpoint",
    "pushed_authorization_request_endpoint",
    "device_authorization_endpoint",
    "registration_endpoint",
)


def provider_of(server: ServerMetadata) -> Provider:
    """Return the provider that an issuer's metadata describe.

    Raises:
        DiscoveryFailed: none of its ways to authenticate clients is known, or its endpoints are no provider's.
    """
    if client_auth(server) is None:
        raise DiscoveryFailed(
            Failure.NO_METADATA, f"{server.source}: none of its ways to authenticate clients is known"
        )
    entry = entry_of(Discovered(server, None, None, Trail()))
    if client_auth(server) is ClientAuth.BASIC:
        # Servers made of the MCP SDK look a client up by the parameter, and compare the header with it then.
        entry["params"] = {"client_id": "${account.client_id}"}
    try:
        return Provider.model_validate({**entry, "name": ISSUER})
    except ValidationError as error:
        words = "; ".join(one["msg"] for one in error.errors(include_input=False, include_url=False))
        raise DiscoveryFailed(Failure.NO_METADATA, f"{server.source}: {words}") from None


class IssuerProviders:
    """Gives an issuer's provider as it is stored, and remembers it for a while."""

    def __init__(self, store: Issuers) -> None:
        self._store = store
        self._known: dict[str, tuple[float, Provider | None]] = {}

    def __call__(self, issuer: str) -> Provider | None:
        """Return an issuer's provider; None: its metadata were never read, or what is stored of them can't be used."""
        name = bare_issuer(issuer)
        known = self._known.get(name)  # once: another thread may have it forgotten
        return self.load([name])[name] if known is None or _is_over(known) else known[1]

    def unknown(self, issuers: Iterable[str]) -> list[str]:
        """Return those of which nothing is remembered, or for too long: `load` reads them."""
        names = map(bare_issuer, issuers)
        return [name for name in names if (known := self._known.get(name)) is None or _is_over(known)]

    def load(self, issuers: Collection[str]) -> dict[str, Provider | None]:
        """Read issuers in one transaction; each is a bare issuer, as `unknown` returns it."""
        found, until = self._store.find_all(issuers), time.monotonic() + _REMEMBERED_S
        usable = {name: _usable(found.get(name)) for name in issuers}
        self._known.update({name: (until, provider) for name, provider in usable.items()})
        return usable

    def forget(self, issuer: str) -> None:
        """Read an issuer's row again at the next question."""
        self._known.pop(bare_issuer(issuer), None)


def _is_over(known: tuple[float, Provider | None]) -> bool:
    return known[0] < time.monotonic()


def _usable(row: IssuerMetadata | None) -> Provider | None:
    if row is None or row.document is None:
        return None
    try:
        return provider_of(ServerMetadata.of_text(row.document))
    except DiscoveryFailed as failed:  # as if they were never read: the next call reads them again
        log.warning("metadata_unusable", issuer=row.issuer, reason=failed.failure.value, error=str(failed))
        return None


class IssuerReader(Struct, frozen=True):
    """Reads issuers' metadata from their servers, and stores what came of it.

    Args:
        store: the table.
        providers: what remembers its rows in this process.
        now: epoch seconds, of the database's clock.
    """

    store: Issuers
    providers: IssuerProviders
    now: Callable[[], float]

    async def read(self, client: DocumentClient, issuer: str, *, accept_hosts: bool = False) -> Provider:
        """Read an issuer's metadata, and store them.

        Args:
            client: fetches documents.
            issuer: the issuer.
            accept_hosts: an operator trusts the hosts that the document names now, whatever it named before.

        Raises:
            DiscoveryFailed: they can't be used; what was stored before stays in use.
        """
        name = bare_issuer(issuer)
        row = await asyncio.to_thread(self.store.find, name) or IssuerMetadata(issuer=name)
        row.asked_at = self.now()
        try:
            server = await _document_of(client, issuer)
            provider = provider_of(server)
            if not accept_hosts:
                _check_hosts(row, server)
        except DiscoveryFailed as failed:
            row.failure, row.detail = failed.failure.value, str(failed)
            await asyncio.to_thread(self.store.save, row)
            raise
        await asyncio.to_thread(self.keep, server)
        return provider

    def keep(self, server: ServerMetadata) -> None:
        """Store metadata that were read just now.

        Raises:
            DiscoveryFailed: no provider can be made of them.
        """
        provider_of(server)
        now, name = self.now(), bare_issuer(server.issuer)
        self.store.save(IssuerMetadata(issuer=name, document=server.to_text(), read_at=now, asked_at=now))
        self.providers.forget(name)

    def keep_checked(self, server: ServerMetadata) -> None:
        """Store metadata that were read just now, unless they lead to another host than those before.

        Raises:
            DiscoveryFailed: they do, or no provider can be made of them.
        """
        row = self.store.find(bare_issuer(server.issuer))
        if row is not None:
            _check_hosts(row, server)
        self.keep(server)

    async def again(self, client: DocumentClient, issuer: str) -> Provider | None:
        """Return what an issuer says now that an endpoint of it is gone; None: the same as before, or nothing new yet.

        Raises:
            DiscoveryFailed: it can't be used.
        """
        row = await asyncio.to_thread(self.store.find, bare_issuer(issuer))
        if row is None or row.asked_at + AGAIN_S <= self.now():
            return await self.read(client, issuer)
        if row.failure is not None:
            raise DiscoveryFailed(Failure(row.failure), row.detail or row.failure)
        self.providers.forget(issuer)
        return await asyncio.to_thread(self.providers, issuer)


async def _document_of(client: DocumentClient, issuer: str) -> ServerMetadata:
    """Read an issuer's metadata. Whatever a document leads to is a failure of this issuer.

    Raises:
        DiscoveryFailed: they can't be read.
    """
    try:
        async with asyncio.timeout(READ_S):
            client.check(issuer, "issuer")
            return await of_issuer(client, issuer, Trail())
    except DiscoveryFailed:
        raise
    except TimeoutError:
        words = f"{issuer}: no whole answer within {READ_S:g} s"
        raise DiscoveryFailed(Failure.UNREACHABLE, words) from None
    except Exception as error:  # noqa: BLE001  (no other issuer waits for it)
        log.error("metadata_not_understood", issuer=issuer, error=type(error).__name__)
        words = f"{issuer}: its metadata can't be read ({type(error).__name__})"
        raise DiscoveryFailed(Failure.NO_METADATA, words) from None


def _check_hosts(row: IssuerMetadata, now: ServerMetadata) -> None:
    """Raise where metadata name another host than those that are stored; what can't be read names none."""
    try:
        before = None if row.document is None else ServerMetadata.of_text(row.document)
    except DiscoveryFailed:
        before = None
    if before is None:
        return
    trusted = {_origin(url) for url in before.endpoints.values()}
    moved = {
        name: url for name, url in now.endpoints.items() if name in _TRUSTED and _origin(url) not in trusted
    }
    if moved:
        words = ", ".join(f"{name} {url}" for name, url in sorted(moved.items()))
        raise DiscoveryFailed(
            Failure.ENDPOINT_MOVED,
            f"{now.source}: names another host than before: {words}; if it is to be trusted with credentials, run "
            f"`refreshd providers discover {now.issuer} --keep`",
        )


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port
