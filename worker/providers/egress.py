"""Where requests with credentials may go: which addresses are refused, and which go through a proxy.

An address is judged as its socket is made, so what is judged is what is connected to: a name that resolves
otherwise a moment later (DNS rebinding), and numbers in odd forms (`0x7f.1`), change nothing.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Collection, Mapping
from typing import Final, Self
from urllib.request import getproxies_environment, proxy_bypass_environment  # type: ignore[attr-defined]

import httpx
from aiohappyeyeballs import AddrInfoType
from msgspec import Struct, field

from models.answer import Fault
from worker.providers.request.draft import InvalidRequest
from worker.settings import Settings

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
#: IPv6 networks whose addresses carry an IPv4 address, and at which bit from the right it begins.
_EMBEDDING: Final = (
    (ipaddress.IPv6Network("::/96"), 0),  # IPv4-compatible, RFC 4291 section 2.5.5.1
    (ipaddress.IPv6Network("::ffff:0:0/96"), 0),  # IPv4-mapped, RFC 4291 section 2.5.5.2
    (ipaddress.IPv6Network("::ffff:0:0:0/96"), 0),  # IPv4-translated, RFC 2765
    (ipaddress.IPv6Network("64:ff9b::/96"), 0),  # NAT64, RFC 6052
    (ipaddress.IPv6Network("2002::/16"), 80),  # 6to4, RFC 3056
)
#: Not global, or a tunnel whose other end is unknown: local NAT64 (RFC 8215), Teredo, site-local.
_NEVER_PUBLIC: Final = tuple(map(ipaddress.IPv6Network, ("64:ff9b:1::/48", "2001::/32", "fec0::/10")))


#: IETF protocol assignments (RFC 6890), which Python counts as global before 3.11.10.
_SPECIAL: Final = ipaddress.IPv4Network("192.0.0.0/24")


class AddressRefused(InvalidRequest):
    """The URL leads into a private network, which REFRESHD_BLOCK_PRIVATE_NETWORKS forbids."""

    fault = Fault.ADDRESS_REFUSED


class PrivateAddress(OSError):
    """This socket would lead into a private network."""


class Route(Struct, frozen=True):
    """How one request leaves: through a proxy or not, and whether its address may be private."""

    proxy: httpx.URL | None = None
    is_public_only: bool = False


DIRECT: Final = Route()


class Egress(Struct, frozen=True):
    """The rules of one process.

    Args:
        block_private_networks: refuse what is not on the public internet.
        allow_private_hosts: hosts to which that does not apply.
        proxies: scheme -> URL, and `no` -> NO_PROXY, as `urllib.request.getproxies_environment` gives them.
    """

    block_private_networks: bool = False
    allow_private_hosts: Collection[str] = ()
    proxies: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return the rules that settings and HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY make."""
        hosts = frozenset(host.strip("[]").casefold() for host in settings.allow_private_hosts)
        return cls(settings.block_private_networks, hosts, getproxies_environment())

    def route(self, url: httpx.URL) -> Route:
        """Return how a request to this URL leaves.

        Raises:
            AddressRefused: through a proxy, to an address that is private as it stands there. (A name is resolved
                by the proxy, and refused by it or not at all.)
            InvalidRequest: the proxy is of a kind that can't be used.
        """
        if not self.proxies and not self.block_private_networks:
            return DIRECT
        is_public_only = self.block_private_networks and url.host.casefold() not in self.allow_private_hosts
        proxy = self._proxy(url)
        if proxy is None:
            return Route(is_public_only=is_public_only)
        if is_public_only and (literal := _literal(url.host)) is not None and is_private(literal):
            raise AddressRefused(_words(str(literal)))
        return Route(proxy)

    def _proxy(self, url: httpx.URL) -> httpx.URL | None:
        text = self.proxies.get(url.scheme) or self.proxies.get("all")
        if (
            not text
            or _is_loopback(url.host)
            or proxy_bypass_environment(url.netloc.decode(), dict(self.proxies))
        ):
            return None
        proxy = httpx.URL(text if "://" in text else f"http://{text}")
        if proxy.scheme not in {"http", "https"} or not proxy.host:
            raise InvalidRequest(
                f"{url.scheme.upper()}_PROXY: only http:// and https:// proxies can be used; "
                "NO_PROXY names hosts that need none"
            )
        return proxy


#: Every address, and no proxy.
ANYWHERE: Final = Egress()


def public_socket(address: AddrInfoType) -> socket.socket:
    """Return the socket for an address (`getaddrinfo`'s five) unless it is private.

    Raises:
        PrivateAddress: it is.
    """
    host = str(address[4][0])
    if is_private(ipaddress.ip_address(host.partition("%")[0])):
        raise PrivateAddress(host)
    return socket.socket(*address[:3])


def is_private(address: _Address) -> bool:
    """Return whether an address, or an IPv4 address inside it, is not on the public internet."""
    if isinstance(address, ipaddress.IPv6Address):
        if any(address in network for network in _NEVER_PUBLIC):
            return True
        for network, shift in _EMBEDDING:
            if address in network:
                return is_private(ipaddress.IPv4Address(int(address) >> shift & 0xFFFFFFFF))
    elif address in _SPECIAL:
        return True
    # 100.64.0.0/10 (RFC 6598) is neither global nor private in `ipaddress`.
    return not address.is_global or address.is_multicast


def refused(address: str) -> tuple[Fault, str]:
    """Return the fault of a private address, and what to do."""
    return Fault.ADDRESS_REFUSED, _words(address)


def _words(address: str) -> str:
    return (
        f"token_url: it leads to {address}, which is no public address (REFRESHD_BLOCK_PRIVATE_NETWORKS); "
        "REFRESHD_ALLOW_PRIVATE_HOSTS names hosts that may be private"
    )


def _literal(host: str) -> _Address | None:
    """Read a host that is an address, in any form that a system's resolver takes for one."""
    try:
        return ipaddress.ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        pass
    try:
        return ipaddress.IPv4Address(socket.inet_aton(host))
    except (OSError, UnicodeError):
        return None


def _is_loopback(host: str) -> bool:
    literal = _literal(host)
    return host.casefold() == "localhost" or (literal is not None and literal.is_loopback)
