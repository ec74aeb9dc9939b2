"""One JSON document fetched or sent, under the rules of every request here: https, allowed addresses, limits of time and size."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Final

import httpx
from msgspec import Struct

from models.token import Secret
from worker.providers.client import CONNECT_TIMEOUT_S, WIRE_ERRORS
from worker.providers.discovery.metadata import DiscoveryFailed, Failure
from worker.providers.egress import ANYWHERE, Egress
from worker.providers.http1.transport import open_transport
from worker.providers.request.builder import RequestBuilder
from worker.providers.request.draft import InvalidRequest
from worker.providers.response.content import Content
from worker.providers.sending import SENDING, Sending
from worker.providers.tls import TLSContexts
from worker.providers.transport import AnnouncedTransport, fault_of, until

#: For one document, seconds.
TIMEOUT_S: Final = 10.0
#: Redirects that are followed, on one host: `/x` to `/x/`, and the like.
_REDIRECTS_MAX: Final = 3
#: Nested deeper, a document is no metadata; Python's own reader ends at about a thousand.
_DEPTH_MAX: Final = 32
_NO_HEADERS: Final[Mapping[str, str]] = {}


class Fetched(Struct, frozen=True):
    """The answer to a GET. `document` is None where the body is no JSON object."""

    url: str
    status: int
    headers: httpx.Headers
    document: Mapping[str, object] | None


class DocumentClient:
    """Fetches documents. One per event loop, because it keeps connections.

    Args:
        ca_file: certificates (PEM) to trust beside the public ones.
        allow_http_hosts: hosts that may be asked without TLS.
        egress: refused addresses, and the proxy.
        transport: another wire, for tests.
    """

    def __init__(
        self,
        *,
        ca_file: Path | None = None,
        allow_http_hosts: Collection[str] = (),
        egress: Egress = ANYWHERE,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._check = RequestBuilder(allow_http_hosts).check
        self._egress = egress
        self._transport = (
            open_transport(TLSContexts(ca_file).context)
            if transport is None
            else AnnouncedTransport(transport)
        )

    def check(self, url: str, field: str) -> str:
        """Return a URL that may be asked, or may be given credentials.

        Raises:
            DiscoveryFailed: it may not; `field` says whose it is.
        """
        try:
            return str(self._check(url, field))
        except InvalidRequest as error:
            raise DiscoveryFailed(Failure.UNSAFE_URL, str(error)) from None

    async def get(self, url: str) -> Fetched:
        """Fetch a document. Redirects are followed on the same host alone.

        Raises:
            DiscoveryFailed: the URL may not be asked, there is no whole answer, or it leads to another host.
        """
        asked = httpx.URL(self.check(url, "URL"))
        for _ in range(_REDIRECTS_MAX + 1):
            response, content = await self._once(asked)
            if not response.is_redirect or "location" not in response.headers:
                return Fetched(str(asked), response.status_code, response.headers, _object(content))
            target = self._joined(asked, response.headers["location"])
            if (target.scheme, target.host, target.port) != (asked.scheme, asked.host, asked.port):
                raise DiscoveryFailed(
                    Failure.UNSAFE_URL,
                    f"{asked}: redirects to another server, {target.host}; ask there if it is to be trusted",
                )
            asked = target
        raise DiscoveryFailed(Failure.UNREACHABLE, f"{asked}: more than {_REDIRECTS_MAX} redirects")

    def _joined(self, asked: httpx.URL, location: str) -> httpx.URL:
        try:
            joined = str(asked.join(location))
        except (httpx.InvalidURL, ValueError):
            raise DiscoveryFailed(
                Failure.UNSAFE_URL, f"{asked}: redirects to what can't be read as a URL"
            ) from None
        return httpx.URL(self.check(joined, "redirect"))

    async def head_of(self, url: str) -> tuple[int, httpx.Headers]:
        """Ask for a resource, and return the status and headers of its answer; its body may never end.

        Raises:
            DiscoveryFailed: the URL may not be asked, or there is no answer.
        """
        response, _ = await self._once(httpx.URL(self.check(url, "URL")), reads_body=False)
        return response.status_code, response.headers

    async def send(
        self, method: str, url: str, document: Mapping[str, object] | None, *, token: Secret | None = None
    ) -> Fetched:
        """Send a document (RFC 7591, RFC 7592), and return the answer. No redirect is followed.

        Args:
            method: POST, PUT, GET or DELETE.
            url: where to.
            document: the JSON object; None: there is no body.
            token: a bearer token that goes with it.

        Raises:
            DiscoveryFailed: the URL may not be asked, or there is no whole answer.
        """
        headers = {} if token is None else {"authorization": f"Bearer {token.reveal()}"}
        body = b""
        if document is not None:
            body, headers["content-type"] = json.dumps(document).encode(), "application/json"
        asked = httpx.URL(self.check(url, "URL"))
        response, content = await self._once(asked, method=method, body=body, headers=headers)
        return Fetched(str(asked), response.status_code, response.headers, _object(content))

    async def _once(
        self,
        url: httpx.URL,
        *,
        reads_body: bool = True,
        method: str = "GET",
        body: bytes = b"",
        headers: Mapping[str, str] = _NO_HEADERS,
    ) -> tuple[httpx.Response, bytes]:
        loop = asyncio.get_running_loop()
        sending = Sending(loop.time() + TIMEOUT_S, loop.time)
        request = httpx.Request(
            method,
            url,
            headers={
                "accept": "application/json",
                "accept-encoding": "gzip, deflate",
                "user-agent": "refreshd",
                **headers,
            },
            content=body or None,
            extensions={"timeout": {"connect": CONNECT_TIMEOUT_S}},
        )
        try:
            sending.route = self._egress.route(url)
        except InvalidRequest as error:
            raise DiscoveryFailed(Failure.UNSAFE_URL, _named(str(error), url)) from None
        unset = SENDING.set(sending)
        try:
            async with until(sending.deadline):
                response = await self._transport.handle_async_request(request)
                response.request = request
                if reads_body:
                    return response, await Content().read(response)
                await response.aclose()
                return response, b""
        except WIRE_ERRORS as error:
            _, words = fault_of(error, sending)
            raise DiscoveryFailed(Failure.UNREACHABLE, _named(words, url), sent=sending.sent) from None
        finally:
            SENDING.reset(unset)

    async def aclose(self) -> None:
        """Close every connection."""
        await self._transport.aclose()


def _named(words: str, url: httpx.URL) -> str:
    return f"{url}: {words.removeprefix('token_url: ')}"


def _object(content: bytes) -> Mapping[str, object] | None:
    """Return the JSON object of a body; None where it is something else, or nested too deep."""
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) and _depth(value) <= _DEPTH_MAX else None


def _depth(value: object) -> int:
    deepest, waiting = 0, [(value, 1)]
    while waiting:
        one, depth = waiting.pop()
        deepest = max(deepest, depth)
        if isinstance(one, dict):
            waiting += [(inner, depth + 1) for inner in one.values()]
        elif isinstance(one, list):
            waiting += [(inner, depth + 1) for inner in one]
    return deepest
