"""What is known of authorization servers is kept up: metadata are read again, registrations renewed or made again.

A registration is renewed before its secret ends, and made again where the server has forgotten it. One worker does it at a time. What failed is the lock's note, until it succeeds: `explain` has it.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import Final, Self

from models.tables.audit import Actor
from models.tables.client import Client
from models.tables.issuer import ClientRegistration
from worker.accounts.clients.editor import ClientApplied
from worker.accounts.token_precedence import ImportOutcome
from worker.context import AppContext
from worker.db.fleet_locks import FleetLock
from worker.db.intake.issuers import Registrations
from worker.db.intake.registration_failures import LOCK, LOCK_S, RegistrationFailure, failures_of, note_of
from worker.errors import RefreshdError
from worker.intake.registrations import (
    FORGOTTEN_AFTER_S,
    managed,
    register_again,
    registering_alone,
    renew_with,
)
from worker.intake.services import AccountServices, account_services, publisher_of
from worker.log import log
from worker.policy.gate_signals import CLIENT_REASONS
from worker.policy.reasons.discovery import REGISTRATION_EXPIRED, REGISTRATION_REFUSED
from worker.providers.discovery.fetch import DocumentClient
from worker.providers.discovery.metadata import DiscoveryFailed, Failure
from worker.providers.discovery.registration import is_forgotten

_RUN_S: Final = 60.0
#: Metadata are read again after so long, whether or not anything moved.
READ_AGAIN_S: Final = 86_400.0
#: Issuers whose metadata one run reads at most.
_READ_MAX: Final = 20
#: A secret is renewed so long before its end, and before that is announced (14 days); one that lives shorter, at half of its life.
RENEW_BEFORE_S: Final = 15 * 86_400.0
#: What failed is tried again after so long.
_RETRY_S: Final = 3_600.0
#: Where a server can't be asked whether it has forgotten a client, one that it refuses for so long is taken for forgotten. Until
#: then the secret that is stored may be right, and another registration would end the grants of the first.
UNASKED_AFTER_S: Final = 86_400.0
#: A client that is refused again so soon after it was registered anew is refused for another reason.
_AGAIN_AFTER_S: Final = 86_400.0
_WORDS_MAX: Final = 300


@dataclass(slots=True)
class Upkept:
    """What one run did."""

    read: int = 0
    renewed: int = 0
    registered: int = 0
    failed: dict[str, RegistrationFailure] = field(default_factory=dict)

    @classmethod
    def after(cls, note: str | None) -> Self:
        """Return a run that knows what failed in the one before."""
        return cls(failed=failures_of(note))

    def to_note(self) -> str:
        return note_of(self.failed)


def is_renewed_now(client: Client, *, now: float) -> bool:
    """Return whether a client's secret is near enough to its end: some servers give it days, and renew it at each question."""
    ends_at = client.secret_expires_at
    return ends_at is not None and now >= ends_at - min(RENEW_BEFORE_S, (ends_at - client.changed_at) / 2)


def keep_up(here: AppContext) -> dict[str, int]:
    """Do what is due, if no other worker does; returns counts."""
    lock = FleetLock(here.engine, LOCK, holder=f"{socket.gethostname()}/upkeep", ttl_s=LOCK_S)
    with lock.hold() as held:
        if held is None:
            return {}
        done = Upkept.after(lock.note())
        with publisher_of(here) as publisher:
            services = account_services(
                here, publisher, Actor("refreshd (registrations)", socket.gethostname())
            )
            asyncio.run(_Run(services, done).run())
        held.note = done.to_note()
    return {
        "read": done.read,
        "renewed": done.renewed,
        "registered": done.registered,
        "failed": len(done.failed),
    }


class _Run:
    """One run."""

    def __init__(self, services: AccountServices, done: Upkept) -> None:
        self._services = services
        self._here = services.stores
        self._registrations = Registrations(self._here.engine)
        self._done = done
        self._now = self._here.clock.now()
        #: Clients that are near their end, or refused.
        self._concerned: set[str] = set()

    async def run(self) -> None:
        documents = self._here.document_client()
        try:
            async with asyncio.timeout(_RUN_S):
                await self._renew(documents)
                await self._register(documents)
                # What is neither near its end nor refused any more was mended by somebody.
                self._done.failed = {
                    name: one for name, one in self._done.failed.items() if name in self._concerned
                }
                await self._read(documents)
        except TimeoutError:
            log.info("registrations_not_finished", seconds=_RUN_S)  # the next run goes on
        finally:
            await documents.aclose()

    async def _read(self, documents: DocumentClient) -> None:
        """Read metadata again that were read long ago; what fails is noted in their row, and what is stored stays in use."""
        issuers = self._here.issuers.unread(before=self._now - READ_AGAIN_S, limit=_READ_MAX)
        for issuer in issuers:
            try:
                await self._here.issuer_reader.read(documents, issuer)
                self._done.read += 1
            except DiscoveryFailed as failed:
                log.warning(
                    "metadata_not_read", issuer=issuer, reason=failed.failure.value, error=str(failed)
                )

    async def _renew(self, documents: DocumentClient) -> None:
        """Renew registrations whose secret ends soon."""
        for registration in self._registrations.ending(before=self._now + RENEW_BEFORE_S):
            self._concerned.add(registration.client)
            if not registration.is_managed or not self._is_due(registration.client):
                continue
            client = self._here.clients.find([registration.client]).get(registration.client)
            if client is not None and is_renewed_now(client, now=self._now):
                await self._tried(registration, self._renewed(documents, registration))

    async def _renewed(self, documents: DocumentClient, registration: ClientRegistration) -> ClientApplied:
        async with registering_alone(self._here, registration.issuer):
            before = self._secret_end(registration.client)
            applied = await renew_with(self._services, documents, registration.client)
        after = self._secret_end(registration.client)
        if after is not None and after == before:
            raise _NotRenewed(
                REGISTRATION_EXPIRED, "the server renewed the registration, and its secret ends as before"
            )
        self._done.renewed += 1
        log.info(
            "registration_renewed", client=registration.client, issuer=registration.issuer, ends_at=after
        )
        return applied

    async def _register(self, documents: DocumentClient) -> None:
        """Make registrations again that their servers have forgotten."""
        for name, since in self._registrations.refused(CLIENT_REASONS).items():
            self._concerned.add(name)
            registration = self._registrations.find(name)
            if registration is not None and self._is_due(name):
                await self._tried(registration, self._made_again(documents, registration, since))

    async def _made_again(
        self, documents: DocumentClient, registration: ClientRegistration, since: float
    ) -> None:
        name = registration.client
        client = self._here.clients.find([name]).get(name)
        if client is None:  # removed right now
            return
        if registration.is_managed:
            uri, token = managed(self._here, name, registration)
            if not await is_forgotten(documents, uri=uri, access_token=token):
                # It knows the client: then by another secret than ours.
                if (await self._renewed(documents, registration)).outcome is ImportOutcome.UNCHANGED:
                    raise _NotRenewed(
                        REGISTRATION_REFUSED,
                        "the server knows the client by the secret that is stored, and refuses it all the same",
                    )
                return
            forgotten_after_s = FORGOTTEN_AFTER_S
        elif _is_document(client.client_id):
            return
        else:
            forgotten_after_s = UNASKED_AFTER_S
        if self._now < since + forgotten_after_s:
            return
        if self._now < registration.registered_at + _AGAIN_AFTER_S:
            raise _NotRenewed(
                REGISTRATION_REFUSED,
                "the server refuses the client that was registered with it less than a day ago",
            )
        async with registering_alone(self._here, registration.issuer):
            applied = await register_again(self._services, documents, registration)
        self._done.registered += 1
        log.warning(
            "registration_made_again",
            client=name,
            issuer=registration.issuer,
            accounts=applied.taken_over.accounts,
            woken=applied.taken_over.woken,
        )

    async def _tried(self, registration: ClientRegistration, work: Awaitable[object]) -> None:
        """Wait for what is done with one registration; why it failed is noted, and the next one is tried."""
        name = registration.client
        try:
            await work
            self._done.failed.pop(name, None)
        except (DiscoveryFailed, _NotRenewed, RefreshdError) as error:
            reason = _reason(error)
            self._done.failed[name] = RegistrationFailure(self._now, reason, str(error)[:_WORDS_MAX])
            log.error(
                "registration_not_kept",
                client=name,
                issuer=registration.issuer,
                reason=reason,
                error=str(error),
            )

    def _is_due(self, name: str) -> bool:
        before = self._done.failed.get(name)
        if before is None or before.reason == Failure.UNREACHABLE.value:  # nothing was refused
            return True
        return before.at + _RETRY_S <= self._now

    def _secret_end(self, name: str) -> float | None:
        found = self._here.clients.find([name]).get(name)
        return None if found is None else found.secret_expires_at


class _NotRenewed(Exception):
    """The server answered, and nothing is better for it."""

    def __init__(self, reason: str, words: str) -> None:
        super().__init__(words)
        self.reason = reason


def _reason(error: Exception) -> str:
    if isinstance(error, DiscoveryFailed):
        return error.failure.value
    return error.reason if isinstance(error, _NotRenewed) else str(REGISTRATION_REFUSED)


def _is_document(client_id: str | None) -> bool:
    """Return whether a client id is a document's URL: there is nothing at the server that it could forget."""
    return (client_id or "").startswith("https://")
