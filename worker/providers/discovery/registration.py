"""Dynamic client registration (RFC 7591), and its management (RFC 7592)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

from msgspec import Struct

from models.providers import ClientAuth
from models.token import Secret
from worker.providers.discovery.entry import METHODS, client_auth
from worker.providers.discovery.fetch import DocumentClient, Fetched
from worker.providers.discovery.metadata import DiscoveryFailed, Failure, ServerMetadata
from worker.providers.response.numbers import point_in_time

#: What people see on consent pages.
CLIENT_NAME: Final = "refreshd"
_LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})
_WORDS_MAX: Final = 300
#: What a registration is renewed with (RFC 7592 section 2.2), and what the server alone sets.
_THE_SERVERS: Final = frozenset(
    {
        "registration_access_token",
        "registration_client_uri",
        "client_secret_expires_at",
        "client_id_issued_at",
    }
)
#: RFC 7592 section 2.1: a client that is no more is 401; servers that look the client up first say 404 or 403.
_FORGOTTEN: Final = frozenset(
    {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND, HTTPStatus.GONE}
)
_METHOD_OF: Final = {ours: method for method, ours in reversed(METHODS.items())}


class Registered(Struct, frozen=True):
    """A client as the server registered it (RFC 7591 section 3.2.1)."""

    client_id: str
    client_secret: Secret | None
    client_auth: ClientAuth
    #: Epoch seconds; None: the secret has no end.
    secret_expires_at: float | None
    #: RFC 7592 section 3.
    uri: str | None
    access_token: Secret | None
    #: The answer says when the secret ends, or that it does not.
    names_end: bool = True

    @property
    def is_managed(self) -> bool:
        """Return whether the registration can be read and renewed (RFC 7592)."""
        return self.uri is not None and self.access_token is not None


async def register(
    client: DocumentClient,
    server: ServerMetadata,
    *,
    redirect_uri: str,
    scopes: Sequence[str],
    auth: ClientAuth | None = None,
    name: str = CLIENT_NAME,
) -> Registered:
    """Register a client.

    Args:
        client: sends documents.
        server: the authorization server.
        redirect_uri: where it will send browsers.
        scopes: what consents may ask for; empty: it is the server's choice.
        auth: how it will authenticate; None: the first of the server's ways that is known here.
        name: what people see on consent pages.

    Raises:
        DiscoveryFailed: it registers none, or refused.
    """
    if server.registration_endpoint is None:
        raise DiscoveryFailed(
            Failure.NO_REGISTRATION,
            f"{server.issuer}: no registration_endpoint; register a client there, add it with `refreshd clients add NAME "
            f"--provider issuer --issuer {server.issuer} --client-id ...`, and name it with `--client NAME`",
        )
    auth = auth or client_auth(server)
    metadata: dict[str, object] = {
        "client_name": name,
        "application_type": "native" if urlsplit(redirect_uri).hostname in _LOOPBACK else "web",
        "redirect_uris": [redirect_uri],
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": _METHOD_OF.get(auth) if auth is not None else "none",
    }
    if scopes:
        metadata["scope"] = " ".join(scopes)
    answer = await client.send("POST", server.registration_endpoint, metadata)
    return _read(client, server, answer)


async def register_lasting(
    client: DocumentClient,
    server: ServerMetadata,
    *,
    redirect_uri: str,
    scopes: Sequence[str],
    name: str = CLIENT_NAME,
) -> Registered:
    """Register a client that does not end with its secret, where the server has such.

    A registration whose secret ends, and that nothing can renew, would end its accounts with it: a client without a secret
    takes its place. Raises as `register` does.
    """
    asking = partial(register, client, server, redirect_uri=redirect_uri, scopes=scopes, name=name)
    registered = await asking()
    if registered.secret_expires_at is None or registered.is_managed or not server.has_public_clients:
        return registered
    return await asking(auth=ClientAuth.NONE)


class Forgotten(DiscoveryFailed):
    """A server does not know a client any more (RFC 7592 section 2.1), or not by this token."""

    def __init__(self, words: str, *, by_token: bool) -> None:
        super().__init__(Failure.REGISTRATION_REFUSED, words)
        #: A newer token might have been answered otherwise.
        self.by_token = by_token


@dataclass(frozen=True, slots=True)
class Current:
    """A registration as its server has it now. The token and the secret in it may be newer than those that are stored."""

    document: Mapping[str, object] = field(repr=False)
    client_secret: Secret | None
    secret_expires_at: float | None
    #: RFC 7592 section 2.1: None where they stay as they are.
    uri: str | None
    access_token: Secret | None


async def read_current(
    client: DocumentClient, server: ServerMetadata, *, uri: str, access_token: Secret
) -> Current:
    """Read a registration (RFC 7592 section 2.1).

    Raises:
        Forgotten: the server does not know the client, or not by this token.
        DiscoveryFailed: it does not say.
    """
    answer = await client.send("GET", uri, None, token=access_token)
    if answer.status in _FORGOTTEN:
        by_token = answer.status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}
        raise Forgotten(str(_refused(server, answer)), by_token=by_token)
    document = answer.document
    _check_well(answer)
    if answer.status != HTTPStatus.OK or document is None:
        raise _refused(server, answer)
    return Current(
        document=document,
        client_secret=_secret(document, "client_secret"),
        secret_expires_at=_end(document),
        uri=_uri(client, document),
        access_token=_secret(document, "registration_access_token"),
    )


async def renew(
    client: DocumentClient,
    server: ServerMetadata,
    current: Current,
    *,
    uri: str,
    access_token: Secret,
    auth: ClientAuth | None,
) -> Registered:
    """Write a registration again as it is (RFC 7592 section 2.2): servers give a new secret where the old one ends.

    Args:
        client: sends documents.
        server: the authorization server.
        current: the registration as it was read.
        uri: where it is managed.
        access_token: the newest token for it.
        auth: how the client authenticates, where the answer does not say.

    Raises:
        DiscoveryFailed: the server refused.
    """
    kept = {name: value for name, value in current.document.items() if name not in _THE_SERVERS}
    answer = await client.send("PUT", uri, kept, token=access_token)
    _check_well(answer)
    return _read(client, server, answer, before=auth)


def _check_well(answer: Fetched) -> None:
    """Raise where a server is not well: that refuses nothing."""
    if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        raise DiscoveryFailed(
            Failure.UNREACHABLE, f"{answer.url}: HTTP {answer.status}; expected the registration"
        )


def _read(
    client: DocumentClient, server: ServerMetadata, answer: Fetched, *, before: ClientAuth | None = None
) -> Registered:
    """Return the client of an answer; `before` is how it authenticated, where it was registered earlier."""
    document = answer.document
    if answer.status not in {HTTPStatus.OK, HTTPStatus.CREATED} or document is None:
        raise _refused(server, answer)
    client_id, secret = document.get("client_id"), _secret(document, "client_secret")
    if not isinstance(client_id, str) or not client_id or not client_id.isprintable():
        raise _refused(server, answer)
    method = document.get("token_endpoint_auth_method")
    auth = before if method is None else METHODS.get(str(method), before)
    if method is None and (auth is None or (auth is ClientAuth.NONE and secret)):
        auth = ClientAuth.BASIC if secret else ClientAuth.NONE  # RFC 7591 section 2
    if auth is None:
        raise DiscoveryFailed(
            Failure.REGISTRATION_REFUSED,
            f"{server.issuer}: token_endpoint_auth_method {method!r} is not known",
        )
    return Registered(
        client_id=client_id,
        client_secret=secret if auth is not ClientAuth.NONE else None,
        client_auth=auth,
        secret_expires_at=_end(document) if secret or before not in {None, ClientAuth.NONE} else None,
        uri=_uri(client, document),
        access_token=_secret(document, "registration_access_token"),
        names_end="client_secret_expires_at" in document,
    )


def _end(document: Mapping[str, object]) -> float | None:
    """Return when a secret ends. 0 is never, and so is what is no point in time, such as 10**400."""
    return point_in_time(document.get("client_secret_expires_at"))


def _uri(client: DocumentClient, document: Mapping[str, object]) -> str | None:
    """Return where a registration is managed; None where it can't be: no token is sent to an address that may not have it."""
    uri = document.get("registration_client_uri")
    if not isinstance(uri, str) or not uri:
        return None
    try:
        return client.check(uri, "registration_client_uri")
    except DiscoveryFailed:
        return None


def _refused(server: ServerMetadata, answer: Fetched) -> DiscoveryFailed:
    document: Mapping[str, object] = answer.document or {}
    words = [
        str(document[name])[:_WORDS_MAX] for name in ("error", "error_description") if document.get(name)
    ]
    said = ": ".join(words) or f"HTTP {answer.status}"
    return DiscoveryFailed(
        Failure.REGISTRATION_REFUSED, f"{server.issuer}: the registration of a client was refused: {said}"
    )


def _secret(document: Mapping[str, object], name: str) -> Secret | None:
    value = document.get(name)
    return Secret(value) if isinstance(value, str) and value and value.isprintable() else None
