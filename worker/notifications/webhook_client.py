"""The HTTP client of webhooks: a message is signed as Standard Webhooks and sent once; only the status is read.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import httpx
from msgspec import Struct
from standardwebhooks import Webhook

from worker.errors import SettingsError
from worker.providers.client import CONNECT_TIMEOUT_S, WIRE_ERRORS
from worker.providers.egress import ANYWHERE, Egress
from worker.providers.http1.transport import open_transport
from worker.providers.request.builder import RequestBuilder
from worker.providers.request.draft import InvalidRequest
from worker.providers.response.waits import asked_wait_s
from worker.providers.sending import SENDING, Sending
from worker.providers.tls import TLSContexts
from worker.providers.transport import AnnouncedTransport, fault_of, until

#: Standard Webhooks recommends 15 to 30 s; an endpoint that needs longer should answer first and work then.
DELIVERY_TIMEOUT_S: Final = 15.0
URL_SETTING: Final = "REFRESHD_WEBHOOK_URL"


class Endpoint(Struct, frozen=True):
    """The receiver of messages. `name` is shown and stored: the URL may hold a secret."""

    name: str
    url: httpx.URL


class DeliveryResult(Struct, frozen=True):
    """The status that an endpoint returned, or the error without one."""

    http_status: int | None
    #: None: the message was accepted.
    error: str | None
    #: How long the endpoint asks to be left alone, seconds: `Retry-After` and its relatives, in any form.
    asked_s: float | None = None


def read_endpoints(urls: Sequence[str], allow_http_hosts: Collection[str]) -> list[Endpoint]:
    """Return the endpoints in a setting, without duplicates.

    Raises:
        SettingsError: a URL breaks the rules of token URLs.
    """
    builder = RequestBuilder(allow_http_hosts)
    endpoints: dict[str, Endpoint] = {}
    for text in urls:
        try:
            url = builder.check(text, URL_SETTING)
        except InvalidRequest as error:
            raise SettingsError(str(error)) from None
        fingerprint = hashlib.sha256(str(url).encode()).hexdigest()[:8]
        endpoint = Endpoint(f"{url.host}-{fingerprint}", url)
        endpoints[endpoint.name] = endpoint
    return list(endpoints.values())


class WebhookClient:
    """Sends messages. One per event loop, because it keeps connections.

    Args:
        signing_secrets: `whsec_BASE64` each; a message is signed with all of them, so that one can be replaced.
        ca_file: certificates (PEM) to trust beside the public ones.
        now: epoch seconds, for the signature.
        timeout_s: for one whole delivery.
        egress: refused addresses, and the proxy.
        transport: another wire, for tests.
    """

    def __init__(
        self,
        signing_secrets: Sequence[str],
        *,
        ca_file: Path | None,
        now: Callable[[], float],
        timeout_s: float = DELIVERY_TIMEOUT_S,
        egress: Egress = ANYWHERE,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._signers = [Webhook(secret) for secret in signing_secrets]
        self._egress = egress
        self._now = now
        self._timeout_s = timeout_s
        self._transport = (
            open_transport(TLSContexts(ca_file).context)
            if transport is None
            else AnnouncedTransport(transport)
        )

    async def send(self, endpoint: Endpoint, message_id: str, body: str) -> DeliveryResult:
        """Send a message, once. Redirects are not followed; only cancellation is raised."""
        loop = asyncio.get_running_loop()
        sending = Sending(loop.time() + self._timeout_s, loop.time)
        request = self._request(endpoint, message_id, body)
        try:
            sending.route = self._egress.route(endpoint.url)
        except InvalidRequest as error:
            return DeliveryResult(None, str(error).replace("token_url", URL_SETTING))
        unset = SENDING.set(sending)
        try:
            async with until(sending.deadline):
                response = await self._transport.handle_async_request(request)
                await response.aclose()  # its body is not read, however long it is
        except WIRE_ERRORS as error:
            _, words = fault_of(error, sending)
            return DeliveryResult(None, words.replace("token_url", URL_SETTING))
        finally:
            SENDING.reset(unset)
        return _taken(response, self._now())

    async def aclose(self) -> None:
        """Close every connection."""
        await self._transport.aclose()

    def _request(self, endpoint: Endpoint, message_id: str, body: str) -> httpx.Request:
        sent_at = datetime.fromtimestamp(int(self._now()), UTC)
        headers = {
            "content-type": "application/json",
            "user-agent": "refreshd",
            "webhook-id": message_id,
            "webhook-timestamp": str(int(sent_at.timestamp())),
            "webhook-signature": " ".join(one.sign(message_id, sent_at, body) for one in self._signers),
        }
        timeout = {"connect": min(CONNECT_TIMEOUT_S, self._timeout_s)}
        return httpx.Request(
            "POST", endpoint.url, headers=headers, content=body.encode(), extensions={"timeout": timeout}
        )


def _taken(response: httpx.Response, now: float) -> DeliveryResult:
    status = response.status_code
    if response.is_success:
        return DeliveryResult(status, None)
    words = f"HTTP {status} {response.reason_phrase}".strip()
    if response.is_redirect:
        words += ", and redirects are not followed"
    return DeliveryResult(status, words, asked_wait_s(status, response.headers, {}, now=now))
