"""How many of Connect's pages one network address may ask for, and the page that says when to come again.

A browser has no key: what is counted is its address. A proxy's word for it is taken where REFRESHD_API_TRUSTED_PROXIES
names the proxy (`worker/api/server.py`).
"""

from __future__ import annotations

import time
from ipaddress import IPv6Address, ip_address
from typing import TYPE_CHECKING, Annotated, Final

from fastapi import Depends, Request
from fastapi.responses import HTMLResponse, Response

from worker.api.auth import Here
from worker.connect.rendering import HEADERS
from worker.log import log

if TYPE_CHECKING:
    from worker.api.connect.service import ConnectService

#: A household, or a server that hops from address to address, has a /64 of IPv6 (RFC 6177).
_IPV6_NETWORK_BITS: Final = 64
_FORWARDED: Final = "x-forwarded-for"


class TooManyPages(Exception):
    """An address has used up its requests. `retry_s`: when it has one again."""

    def __init__(self, retry_s: int) -> None:
        super().__init__(f"again in {retry_s} s")
        self.retry_s = retry_s


async def within_limits(request: Request, here: Here) -> None:
    """Count a browser's request.

    Raises:
        TooManyPages: its address has used up its requests.
    """
    client = request.client
    allowance = here.limits_of_addresses.take(network_of(client.host if client else ""), time.monotonic())
    if allowance.allowed:
        return
    forwarded = _FORWARDED in request.headers and here.api.trusted_proxies is None
    remedy = {"remedy": "set REFRESHD_API_TRUSTED_PROXIES to the proxy's address"} if forwarded else {}
    log.warning("connect_too_many_requests", **remedy)
    raise TooManyPages(int(allowance.headers["Retry-After"]))


WithinLimits = Annotated[None, Depends(within_limits)]


def network_of(host: str) -> str:
    """Return what is counted as one: an address of IPv4, a network of IPv6."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if not isinstance(address, IPv6Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return f"{int(address) >> (128 - _IPV6_NETWORK_BITS):x}::/64"


def page_of(request: Request, connect: ConnectService, refused: TooManyPages) -> Response:
    """Return the page that goes on by itself, once the address may ask again."""
    target = f"{connect.url}{request.url.path}"
    if request.method == "GET" and request.url.query:  # a provider's answer: it is taken then
        target += f"?{request.url.query}"
    found = connect.flow.come_again(target, after_s=refused.retry_s)
    return HTMLResponse(found.html, found.status, headers={**HEADERS, "Retry-After": str(refused.retry_s)})
