"""Documents that servers publish about themselves: where they stand, and what they say. Nothing is fetched here.

Authorization servers: RFC 8414, and OpenID Connect Discovery 1.0 section 4. Protected resources: RFC 9728.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final, Self
from urllib.parse import SplitResult, urlsplit

from msgspec import Struct
from msgspec.structs import asdict, fields

#: Longer values are no endpoints, names or scopes.
_TEXT_MAX: Final = 2048
#: More of one kind (scopes, methods) are not read.
_LIST_MAX: Final = 1000
_SERVER: Final = "/.well-known/oauth-authorization-server"
_OPENID: Final = "/.well-known/openid-configuration"
_RESOURCE: Final = "/.well-known/oauth-protected-resource"
#: An auth-param of a challenge (RFC 9110 section 11.2): a token or a quoted string.
_PARAM: Final = re.compile(r'([A-Za-z0-9_-]{1,64})\s*=\s*(?:"((?:[^"\\]|\\.){0,4096})"|([^\s,"]{1,4096}))')


class Failure(StrEnum):
    """Why an address leads to no authorization server."""

    UNREACHABLE = "unreachable"
    NO_METADATA = "no_metadata"
    NOT_JSON = "not_json"
    WRONG_ISSUER = "wrong_issuer"
    RESOURCE_MISMATCH = "resource_mismatch"
    NO_TOKEN_ENDPOINT = "no_token_endpoint"
    NO_AUTHORIZATION_SERVER = "no_authorization_server"
    UNSAFE_URL = "unsafe_url"
    ENDPOINT_MOVED = "endpoint_moved"
    NO_REGISTRATION = "no_registration"
    REGISTRATION_REFUSED = "registration_refused"
    PKCE_UNSUPPORTED = "pkce_unsupported"


class DiscoveryFailed(Exception):
    """No provider can be made of what was found. The message says what is wrong, where, and what was expected."""

    def __init__(self, failure: Failure, words: str, *, sent: bool = False) -> None:
        super().__init__(words)
        self.failure = failure
        #: A request went out, and its answer is lost.
        self.sent = sent


def server_metadata_urls(issuer: str) -> list[str]:
    """Return where an issuer's metadata may stand, in the order in which to look.

    RFC 8414 section 3.1 puts the well-known path between host and path; OpenID Connect Discovery section 4.1 behind the path.
    """
    url = urlsplit(issuer)
    path = url.path.rstrip("/")
    paths = [_SERVER + path, _OPENID + path]
    if path:
        paths.append(path + _OPENID)
    return [_at(url, one) for one in paths]


def resource_metadata_urls(resource: str) -> list[str]:
    """Return where a resource's metadata may stand: with its path, then for its whole host (RFC 9728 section 3.1)."""
    url = urlsplit(resource)
    path = url.path.rstrip("/")
    return [_at(url, _RESOURCE + one) for one in dict.fromkeys((path, ""))]


def _at(url: SplitResult, path: str) -> str:
    return f"{url.scheme}://{url.netloc}{path}"


def challenge_params(header: str) -> dict[str, str]:
    """Return the parameters of a `WWW-Authenticate: Bearer` challenge: `resource_metadata`, `scope`, `error` (RFC 9728 section 5.1).

    Those of other schemes in the same header are not told apart; the first of a name counts.
    """
    found: dict[str, str] = {}
    for name, quoted, token in _PARAM.findall(header):
        found.setdefault(name.lower(), re.sub(r"\\(.)", r"\1", quoted) or token)
    return found


class ServerMetadata(Struct, frozen=True, kw_only=True):
    """What an authorization server says of itself (RFC 8414 section 2). None or empty: it says nothing."""

    issuer: str
    token_endpoint: str
    #: Where the document was.
    source: str
    authorization_endpoint: str | None = None
    device_authorization_endpoint: str | None = None
    revocation_endpoint: str | None = None
    registration_endpoint: str | None = None
    pushed_authorization_request_endpoint: str | None = None
    require_pushed_authorization_requests: bool = False
    scopes_supported: tuple[str, ...] = ()
    grant_types_supported: tuple[str, ...] = ()
    token_endpoint_auth_methods_supported: tuple[str, ...] = ()
    code_challenge_methods_supported: tuple[str, ...] = ()
    dpop_signing_alg_values_supported: tuple[str, ...] = ()
    #: RFC 9207: the redirect brings `iss`.
    authorization_response_iss_parameter_supported: bool = False
    #: A client id may be the URL of a document of its own (draft-ietf-oauth-client-id-metadata-document).
    client_id_metadata_document_supported: bool = False

    @classmethod
    def read(cls, document: Mapping[str, object], *, issuer: str, source: str) -> Self:
        """Return the metadata in a document.

        Args:
            document: the JSON object.
            issuer: the issuer that was asked for; the document has to name exactly this one (RFC 8414 section 3.3).
            source: where the document was, for messages.

        Raises:
            DiscoveryFailed: it is another issuer's, or names no token endpoint.
        """
        named = _text(document, "issuer")
        if named is None or not _same_issuer(named, issuer):
            raise DiscoveryFailed(
                Failure.WRONG_ISSUER,
                f"{source}: issuer is {named or 'missing'!r}; expected {issuer!r} (RFC 8414 section 3.3)",
            )
        token_endpoint = _text(document, "token_endpoint")
        if token_endpoint is None:
            raise DiscoveryFailed(
                Failure.NO_TOKEN_ENDPOINT, f"{source}: no token_endpoint; a refresh has nowhere to go"
            )
        return cls(
            issuer=named,
            token_endpoint=token_endpoint,
            source=source,
            authorization_endpoint=_text(document, "authorization_endpoint"),
            device_authorization_endpoint=_text(document, "device_authorization_endpoint"),
            revocation_endpoint=_text(document, "revocation_endpoint"),
            registration_endpoint=_text(document, "registration_endpoint"),
            pushed_authorization_request_endpoint=_text(document, "pushed_authorization_request_endpoint"),
            require_pushed_authorization_requests=document.get("require_pushed_authorization_requests")
            is True,
            scopes_supported=_texts(document, "scopes_supported"),
            grant_types_supported=_texts(document, "grant_types_supported"),
            token_endpoint_auth_methods_supported=_texts(document, "token_endpoint_auth_methods_supported"),
            code_challenge_methods_supported=_texts(document, "code_challenge_methods_supported"),
            dpop_signing_alg_values_supported=_texts(document, "dpop_signing_alg_values_supported"),
            authorization_response_iss_parameter_supported=document.get(
                "authorization_response_iss_parameter_supported"
            )
            is True,
            client_id_metadata_document_supported=document.get("client_id_metadata_document_supported")
            is True,
        )

    def to_text(self) -> str:
        """Return the metadata as JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def of_text(cls, text: str) -> Self:
        """Read what `to_text` wrote; fields that this version does not know are left out.

        Raises:
            DiscoveryFailed: it is something else.
        """
        known = {one.name for one in fields(cls)}
        try:
            read: dict[str, Any] = {
                name: tuple(value) if isinstance(value, list) else value
                for name, value in json.loads(text).items()
                if name in known
            }
            return cls(**read)
        except (ValueError, TypeError, AttributeError):
            raise DiscoveryFailed(
                Failure.NOT_JSON, "the metadata that are stored can't be read as metadata"
            ) from None

    @property
    def has_public_clients(self) -> bool:
        """Return whether clients without a secret may refresh."""
        return "none" in self.token_endpoint_auth_methods_supported

    @property
    def reads_client_documents(self) -> bool:
        """Return whether a client id may be the URL of a document, of a client without a secret."""
        offered = self.token_endpoint_auth_methods_supported
        return self.client_id_metadata_document_supported and (not offered or self.has_public_clients)

    @property
    def endpoints(self) -> dict[str, str]:
        """Return the URLs that credentials or a browser may go to, by the name of their field."""
        found = {
            name: getattr(self, name)
            for name in self.__struct_fields__
            if name.endswith("_endpoint") and getattr(self, name) is not None
        }
        return dict(found)


class ResourceMetadata(Struct, frozen=True):
    """What a protected resource says of itself (RFC 9728 section 2)."""

    resource: str
    authorization_servers: tuple[str, ...]
    scopes_supported: tuple[str, ...]
    #: Where the document was.
    source: str

    @classmethod
    def read(cls, document: Mapping[str, object], *, asked: str, source: str) -> Self:
        """Return the metadata in a document.

        Args:
            document: the JSON object.
            asked: the URL at which the resource is used. The document has to be its own, or that of a path above it on the same
                server (RFC 9728 section 3.3 asks for the very same; Model Context Protocol servers name their origin too).
            source: where the document was, for messages.

        Raises:
            DiscoveryFailed: it is another resource's, or names no authorization server.
        """
        resource = _text(document, "resource")
        if resource is None or not _covers(resource, asked):
            raise DiscoveryFailed(
                Failure.RESOURCE_MISMATCH,
                f"{source}: resource is {resource or 'missing'!r}; expected {asked!r}, or a path above it (RFC 9728 section 3.3)",
            )
        servers = _texts(document, "authorization_servers")
        if not servers:
            raise DiscoveryFailed(
                Failure.NO_AUTHORIZATION_SERVER, f"{source}: no authorization_servers (RFC 9728 section 2)"
            )
        return cls(resource, servers, _texts(document, "scopes_supported"), source)


def _same_issuer(named: str, asked: str) -> bool:
    """Compare issuers as RFC 8414 section 3.3 says, but for the slash that is a URL's whole path."""
    return named == asked or bare_issuer(named) == bare_issuer(asked)


def bare_issuer(issuer: str) -> str:
    """Return an issuer as it is stored: without the slash that is a URL's whole path. What is no URL stays as it is."""
    issuer = issuer.strip()
    try:
        url = urlsplit(issuer)
    except ValueError:
        return issuer
    return issuer[:-1] if url.path == "/" and not url.query else issuer


def _covers(resource: str, asked: str) -> bool:
    try:
        outer, inner = urlsplit(resource), urlsplit(asked)
        same_server = (outer.scheme.lower(), (outer.hostname or ""), outer.port or _default_port(outer)) == (
            inner.scheme.lower(),
            (inner.hostname or ""),
            inner.port or _default_port(inner),
        )
    except ValueError:
        return False
    above, below = outer.path.rstrip("/"), inner.path.rstrip("/")
    return same_server and (above == below or below.startswith(above + "/"))


def _default_port(url: SplitResult) -> int:
    return 80 if url.scheme.lower() == "http" else 443


def _text(document: Mapping[str, object], name: str) -> str | None:
    value = document.get(name)
    return value if isinstance(value, str) and _is_text(value) else None


def _texts(document: Mapping[str, object], name: str) -> tuple[str, ...]:
    value = document.get(name)
    if not isinstance(value, list):
        return ()
    return tuple(one for one in value[:_LIST_MAX] if isinstance(one, str) and _is_text(one))


def _is_text(value: str) -> bool:
    """Return whether a value can be a name, a scope or a URL: a NUL, say, no database stores."""
    return 0 < len(value) <= _TEXT_MAX and value.isprintable()
