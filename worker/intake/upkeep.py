"""What is known of authorization servers is kept up: metadata are read again, registrations renewed or made again.

A registration is renewed before its secret ends, and made again where the server has forgotten it. One worker does it at a time. What failed is the lock's note, until it succeeds: `explain` has it.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Final, Self

from msgspec import Struct, field

from models.tables.audit import Actor
from models.tables.client import Client
from models.tables.issuer import ClientRegistration
from worker.accounts.clients.editor import ClientApplied
from worker.accounts.entry import RowRefused
from worker.accounts.token_precedence import ImportOutcome
from worker.context import AppContext
from worker.db.fleet_locks import FleetLock
from worker.db.intake.issuers import Registrations
from worker.db.intake.registration_failures import LOCK, LOCK_S, RegistrationFailure, failures_of, note_of
from worker.errors import RefreshdError
from worker.intake.registrations import (
    FORGOTTEN_AFTER_S,
    Unmanaged,
    current_of,
    register_again,
    registering_alone,
    renew_with,
)
from worker.intake.services import AccountServices, account_services, publisher_of
from worker.log import log
from worker.policy.gate_signals import CLIENT_REASONS
from worker.policy.reasons.discovery import REGISTRATION_EXPIRED, REGISTRATION_REFUSED
from worker.policy.reasons.passing import INTERNAL_ERROR
from worker.providers.discovery.fetch import DocumentClient
from worker.providers.discovery.metadata import DiscoveryFailed, Failure
from worker.providers.discovery.registration import Current, Forgotten

#: The end of a run, whatever it waits for; its lock lasts longer.
_RUN_S: Final = 100.0
#: Each kind of work begins nothing new after its share: dead servers, of which each takes ten seconds and more, leave time for the
#: others.
_RENEW_S: Final = 25.0
_REGISTER_S: Final = 20.0
_READ_S: Final = 15.0
#: Metadata are read again after so long, whether or not anything moved.
READ_AGAIN_S: Final = 86_400.0
#: Issuers whose metadata one run reads at most.
_READ_MAX: Final = 20
#: A secret is renewed so long before its end, and before that is announced (14 days); one that lives shorter, at half of its life.
RENEW_BEFORE_S: Final = 15 * 86_400.0
#: What was refused is tried again after so long.
_RETRY_S: Final = 3_600.0
#: A server that can't be reached is tried again with the next run, and each time twice as long after, up to a day.
_UNREACHABLE_S: Final = 300.0
_UNREACHABLE_MAX_S: Final = 86_400.0
_DOUBLINGS_MAX: Final = 10
#: Runs do not begin on the second: one that comes a little early does not wait for the next.
_EARLY_S: Final = 30.0
#: Where a server can't be asked whether it has forgotten a client, one that it refuses for so long is taken for forgotten. Until
#: then the secret that is stored may be right, and another registration would end the grants of the first.
UNASKED_AFTER_S: Final = 86_400.0
#: A client that is refused again so soon after it was registered anew is refused for another reason.
_AGAIN_AFTER_S: Final = 86_400.0
_WORDS_MAX: Final = 300


class Upkept(Struct):
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
        try:
            with publisher_of(here) as publisher:
                services = account_services(
                    here, publisher, Actor("refreshd (registrations)", socket.gethostname())
                )
                asyncio.run(_Run(services, done).run())
        finally:
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

    async def run(self) -> None:
        documents = self._here.document_client()
        try:
            async with asyncio.timeout(_RUN_S):
                ending = self._registrations.ending(before=self._now + RENEW_BEFORE_S)
                await self._each(_RENEW_S, self._renewals(documents, ending))
                refused = self._registrations.refused(CLIENT_REASONS)
                # What is neither near its end nor refused any more was mended by somebody.
                concerned = {one.client for one in ending} | refused.keys()
                self._done.failed = {
                    name: one for name, one in self._done.failed.items() if name in concerned
                }
                await self._each(_REGISTER_S, self._registering(documents, refused))
                await self._each(_READ_S, self._readings(documents))
        except TimeoutError:
            log.info("registrations_not_finished", seconds=_RUN_S)  # the next run goes on
        finally:
            await documents.aclose()

    async def _each(self, share_s: float, work: Iterable[Callable[[], Awaitable[None]]]) -> None:
        """Do one after the other; no second one begins once the share of the run's time is over. The next run has the rest."""
        loop = asyncio.get_running_loop()
        until = loop.time() + share_s
        for number, one in enumerate(work):
            if number and loop.time() >= until:
                log.info("registrations_not_finished", seconds=share_s)
                return
            await one()

    def _readings(self, documents: DocumentClient) -> Iterator[Callable[[], Awaitable[None]]]:
        """Yield what reads metadata again that were asked for long ago, the longest ago first."""
        for issuer in self._here.issuers.unread(before=self._now - READ_AGAIN_S, limit=_READ_MAX):
            yield partial(self._read, documents, issuer)

    async def _read(self, documents: DocumentClient, issuer: str) -> None:
        """Read metadata; what fails is noted in their row, and what is stored stays in use."""
        try:
            await self._here.issuer_reader.read(documents, issuer)
            self._done.read += 1
        except DiscoveryFailed as failed:
            log.warning("metadata_not_read", issuer=issuer, reason=failed.failure.value, error=str(failed))

    def _renewals(
        self, documents: DocumentClient, ending: Sequence[ClientRegistration]
    ) -> Iterator[Callable[[], Awaitable[None]]]:
        """Yield what renews registrations whose secret ends soon."""
        by_name = {one.client: one for one in ending if one.is_managed}
        for name in self._in_turn(by_name):
            client = self._here.clients.find([name]).get(name)
            if client is not None and is_renewed_now(client, now=self._now):
                yield partial(self._tried, by_name[name], partial(self._renew, documents, by_name[name]))

    def _in_turn(self, names: Iterable[str]) -> list[str]:
        """Return those that are due: first those that did not fail, then those whose last try was the longest ago."""
        failed = self._done.failed
        due = [one for one in names if one not in failed or failed[one].at + wait_s(failed[one]) <= self._now]
        return sorted(due, key=lambda one: failed[one].at if one in failed else 0.0)

    async def _renew(self, documents: DocumentClient, registration: ClientRegistration) -> None:
        async with registering_alone(self._here, registration.issuer):
            await self._renewed(documents, registration)

    async def _renewed(
        self, documents: DocumentClient, registration: ClientRegistration, current: Current | None = None
    ) -> ClientApplied:
        before = self._secret_end(registration.client)
        applied = await renew_with(self._services, documents, registration.client, current)
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

    def _registering(
        self, documents: DocumentClient, refused: Mapping[str, float]
    ) -> Iterator[Callable[[], Awaitable[None]]]:
        """Yield what makes registrations again that their servers have forgotten."""
        for name in self._in_turn(refused):
            registration = self._registrations.find(name)
            if registration is not None:
                work = partial(self._made_again, documents, registration, refused[name])
                yield partial(self._tried, registration, work)

    async def _made_again(
        self, documents: DocumentClient, registration: ClientRegistration, since: float
    ) -> None:
        name = registration.client
        async with registering_alone(self._here, registration.issuer):
            # Another process may have renewed it meanwhile: with the token before, the server would not know the client.
            latest, client = self._registrations.find(name), self._here.clients.find([name]).get(name)
            if latest is None or client is None:  # removed right now
                return
            forgotten_after_s = await self._forgotten_after_s(documents, latest, client)
            if forgotten_after_s is None or self._now < since + forgotten_after_s:
                return
            if self._now < latest.registered_at + _AGAIN_AFTER_S:
                raise _NotRenewed(
                    REGISTRATION_REFUSED,
                    "the server refuses the client that was registered with it less than a day ago",
                )
            applied = await register_again(self._services, documents, latest)
        self._done.registered += 1
        log.warning(
            "registration_made_again",
            client=name,
            issuer=registration.issuer,
            accounts=applied.taken_over.accounts,
            woken=applied.taken_over.woken,
        )

    async def _forgotten_after_s(
        self, documents: DocumentClient, registration: ClientRegistration, client: Client
    ) -> float | None:
        """Return how long a client has to be refused to be taken for forgotten; None: it is not forgotten."""
        name = client.name
        if not registration.is_managed:
            return None if _is_document(client.client_id) else UNASKED_AFTER_S
        try:
            current, applied = await current_of(self._services, documents, name)
        except Forgotten as gone:
            failed = self._done.failed.get(name)
            unsure = gone.by_token and failed is not None and failed.unsure
            return UNASKED_AFTER_S if unsure else FORGOTTEN_AFTER_S
        # It knows the client: then by another secret than ours.
        again = await self._renewed(documents, registration, current)
        if {one.outcome for one in (applied, again) if one is not None} == {ImportOutcome.UNCHANGED}:
            raise _NotRenewed(
                REGISTRATION_REFUSED,
                "the server knows the client by the secret that is stored, and refuses it all the same",
            )
        return None

    async def _tried(self, registration: ClientRegistration, work: Callable[[], Awaitable[object]]) -> None:
        """Do what is to be done with one registration; why it failed is noted, and the next one is tried."""
        name = registration.client
        try:
            await work()
            self._done.failed.pop(name, None)
        except asyncio.CancelledError:
            words = f"no whole answer before the end of the run, after {_RUN_S:g} s"
            self._note(registration, DiscoveryFailed(Failure.UNREACHABLE, words, sent=True))
            raise
        except Exception as error:  # noqa: BLE001  (what one server answers keeps no other from its turn)
            self._note(registration, error)

    def _note(self, registration: ClientRegistration, error: Exception) -> None:
        name, (reason, words) = registration.client, _reason(error)
        before = self._done.failed.get(name)
        self._done.failed[name] = RegistrationFailure(
            at=self._now,
            reason=reason,
            words=words[:_WORDS_MAX],
            tries=before.tries + 1 if before is not None and before.reason == reason else 1,
            unsure=(isinstance(error, DiscoveryFailed) and error.sent)
            or (before is not None and before.unsure),
        )
        log.error(
            "registration_not_kept", client=name, issuer=registration.issuer, reason=reason, error=words
        )

    def _secret_end(self, name: str) -> float | None:
        found = self._here.clients.find([name]).get(name)
        return None if found is None else found.secret_expires_at


class _NotRenewed(Exception):
    """The server answered, and nothing is better for it."""

    def __init__(self, reason: str, words: str) -> None:
        super().__init__(words)
        self.reason = reason


def wait_s(failed: RegistrationFailure) -> float:
    """Return how long after a failure the next try comes."""
    if failed.reason != Failure.UNREACHABLE.value:
        return _RETRY_S
    doublings = min(failed.tries - 1, _DOUBLINGS_MAX)
    return min(_UNREACHABLE_S * 2.0**doublings, _UNREACHABLE_MAX_S) - _EARLY_S


def _reason(error: Exception) -> tuple[str, str]:
    """Return a failure's reason and its words; of what nobody foresaw its type alone: it may hold what a server answered."""
    if isinstance(error, DiscoveryFailed):
        return error.failure.value, str(error)
    if isinstance(error, _NotRenewed):
        return error.reason, str(error)
    if isinstance(error, Unmanaged):
        return Failure.NO_REGISTRATION.value, str(error)
    if isinstance(error, RefreshdError | RowRefused):
        return str(REGISTRATION_REFUSED), str(error)
    return str(INTERNAL_ERROR), type(error).__name__


def _is_document(client_id: str | None) -> bool:
    """Return whether a client id is a document's URL: there is nothing at the server that it could forget."""
    return (client_id or "").startswith("https://")
