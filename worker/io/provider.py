"""One call to a provider's token endpoint: built, sent once, read. Judging it is the verdict table's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Final

import aiohttp
import httpx

from models.answer import Answer, Fault
from models.refresh_request import RefreshRequest
from worker.io.clock import wall_clock
from worker.io.provider_content import Oversized, read_content
from worker.io.provider_draft import Unbuildable
from worker.io.provider_reading import read_answer
from worker.io.provider_request import RequestBuilder
from worker.io.provider_wire import (
    SENDING,
    AnnouncedTransport,
    NotSent,
    Sending,
    SentAlready,
    fault_of,
    open_transport,
    tls_context,
)

#: What a transport raises when there is no (whole) response.
_WIRE_ERRORS: Final = (
    httpx.HTTPError,
    httpx.InvalidURL,
    aiohttp.ClientError,
    OSError,
    ValueError,
    SentAlready,
)


class ProviderClient:
    """Calls providers. One per event loop: it keeps their connections.

    Args:
        ca_file: certificates (PEM) to trust beside the public ones.
        allow_http_hosts: hosts that may be asked without TLS; every other http:// is refused.
        transport: another wire, for tests.
        now: epoch seconds, for signed assertions and dates.
    """

    def __init__(
        self,
        *,
        ca_file: Path | None = None,
        allow_http_hosts: Collection[str] = (),
        transport: httpx.AsyncBaseTransport | None = None,
        now: Callable[[], float] = wall_clock,
    ) -> None:
        self._builder = RequestBuilder(allow_http_hosts)
        self._now = now
        self._transport = (
            open_transport(tls_context(ca_file)) if transport is None else AnnouncedTransport(transport)
        )

    async def call(
        self, request: RefreshRequest, *, deadline: float, on_send: Callable[[], None] | None = None
    ) -> Answer:
        """Ask for a new token, once.

        Args:
            request: the account's credentials and its provider.
            deadline: the event loop's time by which the whole call has ended. It is looked at again when the
                connection stands, right before the first byte; past it, nothing is sent (`Fault.NOT_SENT`).
            on_send: called right before the first byte.

        Returns:
            What came back, or what kept it from coming. Only cancellation is raised.
        """
        try:
            wire_request, shown = self._builder.build(request, now=self._now())
        except Unbuildable as error:
            return Answer(fault=Fault.UNBUILDABLE, fault_detail=str(error))
        sending = Sending(deadline, asyncio.get_running_loop().time, on_send)
        if sending.over:
            return _fault(Fault.NOT_SENT, "the deadline was over", shown, sending)
        unset = SENDING.set(sending)
        try:
            return await self._exchange(wire_request, request, sending, shown)
        finally:
            SENDING.reset(unset)

    async def _exchange(
        self, wire_request: httpx.Request, request: RefreshRequest, sending: Sending, shown: str
    ) -> Answer:
        try:
            async with asyncio.timeout_at(sending.deadline):
                response = await self._transport.handle_async_request(wire_request)
                response.request = wire_request
                content = await read_content(response)
        except NotSent:
            return _fault(Fault.NOT_SENT, "the deadline was over", shown, sending)
        except TimeoutError:
            if sending.sent:
                return _fault(Fault.TIMEOUT, "no answer before the deadline", shown, sending)
            return _fault(Fault.CONNECT, "no connection before the deadline", shown, sending)
        except Oversized:
            return _fault(Fault.TOO_LARGE, "more than 1 MiB", shown, sending)
        except _WIRE_ERRORS as error:
            fault, detail = fault_of(error, sent=sending.sent)
            return _fault(fault, detail, shown, sending)
        return read_answer(response, content, request, shown=shown, now=self._now())

    async def aclose(self) -> None:
        """Close every connection."""
        await self._transport.aclose()


def _fault(fault: Fault, detail: str, shown: str, sending: Sending) -> Answer:
    return Answer(fault=fault, fault_detail=detail, request=shown, spent=sending.sent)
