"""One call to a provider's token endpoint: built, sent once, read. Judging it is the verdict table's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from typing import Final

import httpx
from msgspec.structs import replace

import worker.providers.request.jose  # noqa: F401  (before a pool forks, and not within the first call that signs)
from models.answer import Answer, BodyKind, Fault
from models.providers import GrantType
from models.providers.dpop import is_bound
from models.refresh_request import RefreshRequest
from worker.clock import wall_clock
from worker.log import log
from worker.providers.egress import ANYWHERE, Egress
from worker.providers.http1.parser import BrokeHTTP
from worker.providers.http1.transport import open_transport
from worker.providers.redaction import Redaction, beginning
from worker.providers.request.builder import RequestBuilder, WireRequest, sign_locally
from worker.providers.request.dpop import USE_NONCE, Proof
from worker.providers.request.draft import InvalidRequest
from worker.providers.response.content import Content, Oversized
from worker.providers.response.reading import read_answer
from worker.providers.sending import NotSent, Sending, SentAlready
from worker.providers.tls import TLSContexts
from worker.providers.transport import AnnouncedTransport, fault_of, until
from worker.providers.wire import WireResponse

#: A host that does not take a connection by then is down; the rest of the deadline is for the answer.
CONNECT_TIMEOUT_S: Final = 10.0
_BAD_REQUEST: Final = 400
_OK: Final = 200
#: What a transport raises when there is no (whole) response.
WIRE_ERRORS: Final = (
    httpx.HTTPError,
    httpx.InvalidURL,
    BrokeHTTP,
    OSError,
    ValueError,
    Oversized,
    NotSent,
    SentAlready,
)


class ProviderClient:
    """Calls providers. One per event loop: it keeps their connections.

    Args:
        ca_file: certificates (PEM) to trust beside the public ones.
        allow_http_hosts: hosts that may be asked without TLS; every other http:// is refused.
        egress: which addresses are refused, and what goes through a proxy.
        transport: another wire, for tests.
        now: epoch seconds, for signed assertions and dates.
        connect_timeout_s: how long a connection may take to stand, TLS included. Reading has no limit of its
            own: the deadline of the call holds for all of it.
    """

    def __init__(
        self,
        *,
        ca_file: Path | None = None,
        allow_http_hosts: Collection[str] = (),
        egress: Egress = ANYWHERE,
        transport: httpx.AsyncBaseTransport | None = None,
        now: Callable[[], float] = wall_clock,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
    ) -> None:
        self._builder = RequestBuilder(allow_http_hosts)
        self._egress = egress
        self._now = now
        self._connect_s = connect_timeout_s
        self._trust = TLSContexts(ca_file)
        self._transport = (
            open_transport(self._trust.context) if transport is None else AnnouncedTransport(transport)
        )

    async def call(
        self, request: RefreshRequest, *, deadline: float, on_send: Callable[[], None] | None = None
    ) -> Answer:
        """Ask for a new token, once: a second time only where the server wants its nonce in the proof first.

        Args:
            request: the account's credentials and its provider.
            deadline: the event loop's time by which the whole call has ended. It is looked at again when the
                connection stands, right before the first byte; past it, nothing is sent (`Fault.NOT_SENT`).
            on_send: called right before the first byte, of either request.

        Returns:
            What came back, or what kept it from coming. Only cancellation is raised.
        """
        answer, wire = await self._once(request, deadline, on_send)
        if wire is None or wire.proof is None:
            return answer
        if self._wants_its_nonce(answer, wire.proof):
            # RFC 9449 section 8: it looked at the proof alone, so the refresh token is as it was.
            again, _ = await self._once(request, deadline, on_send)
            if again.fault is not Fault.NOT_SENT:
                answer = replace(again, request=f"{again.request}, sent again: it had asked for its nonce")
        return _unbound_noted(answer, request)

    def _wants_its_nonce(self, answer: Answer, proof: Proof) -> bool:
        """Return whether a request was refused for its proof's nonce, and there is another one by now."""
        return (
            answer.status == _BAD_REQUEST
            and answer.error == USE_NONCE
            and self._builder.nonces.of(proof.origin) != proof.nonce
        )

    async def _once(
        self, request: RefreshRequest, deadline: float, on_send: Callable[[], None] | None
    ) -> tuple[Answer, WireRequest | None]:
        """Send one request; returns it beside the answer, None where there is none."""
        sending = Sending(deadline, asyncio.get_running_loop().time, on_send)
        try:
            if request.provider.grant is GrantType.SELF_SIGNED:
                token = sign_locally(request, now=self._now())
                return Answer(token=token, request="signed here, nothing sent"), None
            wire = self._builder.build(request, now=self._now())
            sending.route = self._egress.route(wire.target.url)
            if wire.certificate is not None:
                sending.tls = self._trust.client(wire.certificate)
        except InvalidRequest as error:
            return Answer(fault=error.fault, fault_detail=str(error)), None
        return await self._exchange(wire, request, sending), wire

    async def _exchange(self, wire: WireRequest, request: RefreshRequest, sending: Sending) -> Answer:
        response: WireResponse | None = None
        content = Content()
        try:
            async with until(sending.deadline):
                if sending.over:
                    raise NotSent
                response = await self._transport.send(
                    wire.method,
                    wire.target,
                    wire.headers,
                    wire.content,
                    sending=sending,
                    connect_s=self._connect_s,
                )
                if wire.proof is not None:
                    self._builder.nonces.heard(wire.proof.origin, response)
                whole = await content.read(response)
        except WIRE_ERRORS as error:
            if response is not None:
                salvaged = self._salvage(response, content, request, wire)
                if salvaged is not None:
                    return salvaged
            fault, detail = fault_of(error, sending)
            # A transport quotes the line of the answer that it could not read.
            detail = Redaction.of(request).text(detail)
            answer = Answer(fault=fault, fault_detail=detail, request=wire.shown, spent=sending.sent)
            return self._unreadable(error, answer, request) if isinstance(error, BrokeHTTP) else answer
        return read_answer(
            response, whole, request, shown=wire.shown, now=self._now(), surplus=content.surplus
        )

    def _salvage(
        self, response: WireResponse, content: Content, request: RefreshRequest, wire: WireRequest
    ) -> Answer | None:
        """Read a body whose end never came: the old refresh token may be spent.

        A whole object counts as it stands. Of a piece of one, or of a form but for its last value, the tokens are taken; but where the new refresh token is not
        among them and a replay brings it for certain, nothing is.
        """
        read = partial(read_answer, response, request=request, shown=wire.shown, now=self._now())
        answer = read(received := content.so_far(response))
        is_form = answer.body_kind is BodyKind.FORM
        if is_form:  # its last value may have been cut
            answer = read(received.rpartition(b"&")[0])
        brought = answer.token or answer.refresh_token
        if answer.body_kind is BodyKind.JSON and (brought is not None or answer.error is not None):
            return answer
        if brought is None or not (is_form or answer.body_kind is BodyKind.UNREADABLE):
            return None
        is_half = answer.token is None or answer.token.refresh_token is None
        replay_is_better = request.provider.replayable and is_half
        return None if replay_is_better else answer

    def _unreadable(self, error: BrokeHTTP, answer: Answer, request: RefreshRequest) -> Answer:
        """Return the tokens of what is no HTTP, if they stand in it; else note how it began."""
        nothing = WireResponse(_OK, (), httpx.ByteStream(b""), "")
        found = read_answer(nothing, error.seen, request, shown=answer.request or "", now=self._now())
        if found.token is not None and found.body_kind is BodyKind.JSON:
            return replace(found, status=None)
        return replace(answer, output=beginning(error.seen, request))

    async def aclose(self) -> None:
        """Close every connection."""
        await self._transport.aclose()


def _unbound_noted(answer: Answer, request: RefreshRequest) -> Answer:
    """Note of a token that it is not bound to the key that the request proved (RFC 9449 section 5): anybody may use it."""
    token = answer.token
    if token is None or is_bound(token.token_type):
        return answer
    log.warning(
        "dpop_not_bound",
        account=request.account_id,
        token_type=token.token_type,
        remedy="have the provider bind this client's tokens, or take `dpop` back",
    )
    words = f"not bound to the DPoP key: token_type {token.token_type or 'is missing'}"
    return replace(answer, fault_detail="; ".join(filter(None, (answer.fault_detail, words))))
