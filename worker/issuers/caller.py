"""Calls of accounts whose provider is an issuer: where its token endpoint is gone, its metadata are read again first."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from typing import Final, Protocol

from models.answer import Answer, Fault
from models.providers import Provider
from models.refresh_request import RefreshRequest
from worker.issuers.stored import IssuerReader
from worker.providers.discovery.fetch import DocumentClient
from worker.providers.discovery.metadata import DiscoveryFailed, Failure
from worker.providers.registry import ISSUER

#: Answers of a place where no token endpoint is (any more): the refresh token was not looked at.
_GONE: Final = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.GONE})
_FAULTS: Final = {
    Failure.WRONG_ISSUER: Fault.WRONG_ISSUER,
    Failure.UNREACHABLE: Fault.ISSUER_AWAY,
    Failure.ENDPOINT_MOVED: Fault.ENDPOINT_MOVED,
}
#: What of a provider is an issuer's and no account's.
_ISSUERS_OWN: Final = frozenset({"name", "title", "notes", "sources", "verified", "hosts", "issuer"})


class _Caller(Protocol):
    async def call(
        self, request: RefreshRequest, *, deadline: float, on_send: Callable[[], None] | None = None
    ) -> Answer: ...


class IssuerCaller:
    """Makes calls; of an issuer's accounts, a second one where the endpoint moved meanwhile.

    Args:
        caller: makes one call.
        documents: fetches metadata.
        reader: reads and stores them.
    """

    def __init__(self, caller: _Caller, documents: DocumentClient, reader: IssuerReader) -> None:
        self._caller = caller
        self._documents = documents
        self._reader = reader
        self._reading: dict[str, asyncio.Lock] = {}

    async def call(
        self, request: RefreshRequest, *, deadline: float, on_send: Callable[[], None] | None = None
    ) -> Answer:
        """Ask for a new token, as `ProviderClient.call` does."""
        provider = request.provider
        if provider.name != ISSUER or provider.issuer is None or request.token_url is not None:
            return await self._caller.call(request, deadline=deadline, on_send=on_send)
        if provider.token_url is None:
            found = await self._found(request, deadline)
            if isinstance(found, Answer):
                return found
            return await self._caller.call(found, deadline=deadline, on_send=on_send)
        answer = await self._caller.call(request, deadline=deadline, on_send=on_send)
        if answer.status not in _GONE or answer.token is not None:
            return answer
        found = await self._found(request, deadline)
        if isinstance(found, Answer):
            return found if found.fault is Fault.ENDPOINT_MOVED else answer
        if found.provider.token_url == provider.token_url:
            return answer
        again = await self._caller.call(found, deadline=deadline, on_send=on_send)
        return answer if again.fault is Fault.NOT_SENT else again

    async def _found(self, request: RefreshRequest, deadline: float) -> RefreshRequest | Answer:
        """Return the request with what its issuer says now, or the answer that says why there is none."""
        issuer = request.provider.issuer or ""
        lock = self._reading.setdefault(issuer, asyncio.Lock())
        try:
            async with asyncio.timeout_at(deadline), lock:
                found = await self._reader.again(self._documents, issuer)
        except DiscoveryFailed as failed:
            return Answer(fault=_FAULTS.get(failed.failure, Fault.NO_METADATA), fault_detail=str(failed))
        except TimeoutError:
            return Answer(fault=Fault.ISSUER_AWAY, fault_detail=f"{issuer}: no metadata within the deadline")
        if found is None:
            return Answer(fault=Fault.ISSUER_AWAY, fault_detail=f"{issuer}: no metadata yet")
        return request.at(_as_the_account_has_it(found, request.provider))


def _as_the_account_has_it(found: Provider, before: Provider) -> Provider:
    """Return an issuer's provider with the options that are the account's."""
    if before.token_url is None:  # all that is set there is the account's
        dumped = before.model_dump(mode="json", exclude_unset=True)
        return found.for_account({name: one for name, one in dumped.items() if name not in _ISSUERS_OWN})
    return before.overridden({"token_url": found.token_url, "hosts": found.allowed_hosts.patterns})
