"""Callbacks behind an HTTP endpoint: inputs POSTed as JSON, signed as Standard Webhooks; outputs in the answer.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Collection, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import httpx
from standardwebhooks import Webhook

from models.answer import Answer, Fault
from models.callback import CallbackInput
from worker.callbacks.host.result import parse, token_of
from worker.callbacks.host.run_result import Reply
from worker.providers.client import CONNECT_TIMEOUT_S, WIRE_ERRORS
from worker.providers.egress import ANYWHERE, Egress
from worker.providers.http1.parser import BrokeHTTP
from worker.providers.http1.transport import open_transport
from worker.providers.request.builder import RequestBuilder
from worker.providers.request.draft import InvalidRequest
from worker.providers.response.body import Body, read_body
from worker.providers.response.content import Content
from worker.providers.sending import SENDING, Sending
from worker.providers.tls import TLSContexts
from worker.providers.transport import AnnouncedTransport, fault_of, until

#: Faults of the connection to the endpoint. They say nothing of the provider, whose breaker stays as it is.
_TIMES: Final = frozenset({Fault.TIMEOUT, Fault.NOT_SENT})
_UNAUTHORIZED: Final = (401, 403)
#: Where endpoints say in words what went wrong (RFC 9457, and what frameworks do).
_SAID_IN: Final = ("title", "detail", "message", "error")
#: Characters of a content type.
_KIND_MAX: Final = 50


class EndpointClient:
    """Calls endpoints. One per event loop: it keeps their connections.

    Args:
        ca_file: certificates (PEM) to trust beside the public ones.
        allow_http_hosts: hosts that may be called without TLS.
        now: epoch seconds, for signatures.
        egress: which addresses are refused, and what goes through a proxy.
        transport: another wire, for tests.
    """

    def __init__(
        self,
        *,
        ca_file: Path | None,
        allow_http_hosts: Collection[str],
        now: Callable[[], float],
        egress: Egress = ANYWHERE,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._builder = RequestBuilder(allow_http_hosts)
        self._egress = egress
        self._now = now
        self._transport = (
            open_transport(TLSContexts(ca_file).context)
            if transport is None
            else AnnouncedTransport(transport)
        )

    async def call(
        self,
        url: str,
        secret: str,
        inputs: CallbackInput,
        *,
        deadline: float,
        on_send: Callable[[], None],
    ) -> Reply:
        """Call an endpoint, once. Redirects are not followed.

        Args:
            url: the endpoint.
            secret: the key of the signature: base64, with or without `whsec_`.
            inputs: what it is given.
            deadline: the event loop's time by which the whole call has ended.
            on_send: called right before the first byte.
        """
        try:
            wire = self._request(url, secret, inputs.model_dump_json())
            route = self._egress.route(wire.url)
        except InvalidRequest as error:
            return Reply(failure=Answer(fault=error.fault, fault_detail=_of_callback(str(error))))
        sending = Sending(deadline, asyncio.get_running_loop().time, on_send, route=route)
        unset = SENDING.set(sending)
        response, content = None, Content()
        try:
            async with until(deadline):
                response = await self._transport.handle_async_request(wire)
                whole = await content.read(response)
        except WIRE_ERRORS as error:
            failure = _no_answer(error, sending)
            if response is not None:
                return _cut(response, content.so_far(response), failure)
            seen = error.seen if isinstance(error, BrokeHTTP) else b""
            return Reply(_found(seen, "").fields, failure=failure)
        finally:
            SENDING.reset(unset)
        return _reply(response, whole, content.surplus)

    async def aclose(self) -> None:
        """Close every connection."""
        await self._transport.aclose()

    def _request(self, url: str, secret: str, body: str) -> httpx.Request:
        message, sent_at = f"msg_{secrets.token_urlsafe(18)}", datetime.fromtimestamp(int(self._now()), UTC)
        headers = {
            "content-type": "application/json",
            "accept": "application/json",
            "user-agent": "refreshd",
            "webhook-id": message,
            "webhook-timestamp": str(int(sent_at.timestamp())),
            "webhook-signature": Webhook(secret).sign(message, sent_at, body),
        }
        return httpx.Request(
            "POST",
            self._builder.check(url),
            headers=headers,
            content=body.encode(),
            extensions={"timeout": {"connect": CONNECT_TIMEOUT_S}},
        )


def _of_callback(words: str) -> str:
    return words.replace("token_url", "url of the callback")


def _no_answer(error: Exception, sending: Sending) -> Answer:
    """Return why there is no answer, or no end of it."""
    fault, words = fault_of(error, sending)
    if fault is Fault.ADDRESS_REFUSED:
        return Answer(fault=fault, fault_detail=_of_callback(words))
    if fault is Fault.TLS:
        words += " (REFRESHD_CA_FILE names certificates to trust beside the public ones)"
    elif fault not in _TIMES and not sending.sent:
        words += " (is it running, and is this its address?)"
    fault = fault if fault in _TIMES else Fault.CALLBACK
    return Answer(fault=fault, fault_detail=f"the endpoint: {words}", spent=sending.sent)


def _found(content: bytes, kind: str) -> Body:
    """Return what holds tokens in an answer that is no JSON as a whole: JSON among other things, or a part of it."""
    body = read_body(content, kind, token_of)
    return body if token_of(body.fields) is not None else Body(body.kind)


def _cut(response: httpx.Response, content: bytes, failure: Answer) -> Reply:
    """Read an answer whose end never came. One whose output is whole counts as it stands."""
    body = _found(content, response.headers.get("content-type", ""))
    return _reply(response, content) if body.is_whole else Reply(body.fields, failure=failure)


def _reply(response: httpx.Response, content: bytes, surplus: bytes = b"") -> Reply:
    """Read an answer. One that is no success counts only if it says, as an output does, what is wrong.

    `surplus` is what came behind the end that it named. What is no output goes along with the failure: tokens in it
    are neither lost nor shown.
    """
    notes: tuple[str, ...] = ()
    try:
        value = parse(content)
    except ValueError:
        content_type = response.headers.get("content-type", "")
        body = _found(content + surplus, content_type)
        value, kind = body.fields, content_type.partition(";")[0].strip()
        if response.is_success and body.is_whole:
            return Reply(value, notes=("its output stood among other things, or beyond its named length",))
        words = f"with what is no JSON ({kind[:_KIND_MAX] or 'no content type'})"
    else:
        words = "with no errorResponse"
        refused = isinstance(value, dict) and bool(value.get("errorResponse"))
        if response.is_success or refused:
            return Reply(value)
        notes = tuple(_said(value))
    if response.has_redirect_location:
        words = (
            f"and redirects to {_host(response)}: redirects are not followed, name the address where it ends"
        )
    elif response.status_code in _UNAUTHORIZED:
        words += ": does it know the same secret as REFRESHD_CALLBACKS_FILE names?"
    status = f"{response.status_code} {response.reason_phrase}".rstrip()
    failure = Answer(fault=Fault.CALLBACK, fault_detail=f"the endpoint answered {status} {words}", spent=True)
    return Reply(value, failure=failure, notes=notes)


def _said(value: object) -> Iterator[str]:
    """Return the part of an answer that describes it. Never all of it: it may hold a token that is not known here."""
    if isinstance(value, dict):
        for name in _SAID_IN:
            if isinstance(words := value.get(name), str) and words:
                yield f"its {name}: {words}"  # whole: half a secret would not be found when it is redacted


def _host(response: httpx.Response) -> str:
    try:
        return httpx.URL(response.headers["location"]).host or "another path"
    except (httpx.InvalidURL, ValueError):
        return "what is no address"
