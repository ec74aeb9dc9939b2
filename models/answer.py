"""The answer to one refresh call, read and not yet judged: the input of the verdict table."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from msgspec import Struct, field

from models.token import Secret, TokenResponse


class Fault(StrEnum):
    """What kept a call from an HTTP response, or made the response unreadable."""

    CONNECT = "connect"  # refused, unreachable, reset before the request was sent
    DNS = "dns"
    TLS = "tls"
    TIMEOUT = "timeout"  # the deadline of the whole call; the refresh token may be spent
    BROKEN = "broken"  # the connection broke after the request was sent; the refresh token may be spent
    BROKE_HTTP = "broke_http"  # an answer came that nothing can read as HTTP; the refresh token may be spent
    TOO_LARGE = "too_large"
    CLIENT_CERTIFICATE = "client_certificate"  # the server's TLS refused the client's certificate
    NOT_SENT = "not_sent"  # the deadline ended before a byte was sent
    ADDRESS_REFUSED = (
        "address_refused"  # it leads into a private network, which is forbidden; nothing was sent
    )
    HOST_NOT_ALLOWED = "host_not_allowed"  # the provider's data does not name the host; nothing was sent
    NO_PROOF = "no_proof"  # the key that proves possession is missing or unfit; nothing was sent
    WRONG_KEY = "wrong_key"  # the access token is bound to another key; nothing was sent
    UNBUILDABLE = "unbuildable"  # no request can be made of this: a bad URL, a refused address, a variable without value
    NO_METADATA = "no_metadata"  # the issuer publishes none that can be used; nothing was sent
    WRONG_ISSUER = "wrong_issuer"  # the issuer's document is another issuer's; nothing was sent
    ISSUER_AWAY = "issuer_away"  # the issuer's metadata can't be asked for now; nothing was sent
    ENDPOINT_MOVED = "endpoint_moved"  # the issuer names endpoints on another host; nothing was sent there
    CALLBACK = "callback"  # the callback raised, ended its process, or returned something that is no output
    NO_CALLBACK = "no_callback"  # there is no callback of that name
    INTERNAL = "internal"  # refreshd itself failed while it asked; the refresh token may be spent


class BodyKind(StrEnum):
    """How the body of a response could be read."""

    NONE = "none"
    JSON = "json"
    FORM = "form"
    HTML = "html"
    TEXT = "text"
    UNREADABLE = "unreadable"


class Answer(Struct, frozen=True, kw_only=True):
    """One provider's (or callback's) answer to one refresh.

    `token` is set wherever the body held a usable access token, whatever else was odd. `error`,
    `error_description` and `error_uri` are RFC 6749 section 5.2's, or what the provider has in their place.
    `fields` is the readable body of an answer without a token, redacted, for a provider's own error rules.
    `spent` says that the refresh token may have been used although neither a token nor an error was read:
    the call broke after the request was sent, or ended in a 5xx or in a success that can't be read.
    """

    status: int | None = None
    token: TokenResponse | None = None
    #: A new refresh token that came without a usable access token: in a success, or beside a callback's error.
    refresh_token: Secret | None = None
    error: str | None = None
    error_description: str | None = None
    error_uri: str | None = None
    fault: Fault | None = None
    fault_detail: str | None = None
    body_kind: BodyKind = BodyKind.NONE
    fields: Mapping[str, object] = field(default_factory=dict)
    #: Seconds from Retry-After and its relatives, None where absent or unreadable.
    retry_after_s: float | None = None
    provider_request_id: str | None = None
    #: The request as sent, redacted: method, URL without query, names of the parameters.
    request: str | None = None
    spent: bool = False
    #: When it was asked for, epoch seconds, where that was by an earlier attempt: tokens count from then.
    asked_at: float | None = None
    #: What a callback logged or printed, or how an answer began that nothing can read; redacted and cut.
    output: str | None = None


class Verdict(StrEnum):
    """What an answer means for the account (DESIGN, section 3)."""

    REFRESHED = "refreshed"
    RETRY = "retry"
    RATE_LIMITED = "rate_limited"
    REAUTHORIZE = "reauthorize"
    MISCONFIGURED = "misconfigured"


class Judgement(Struct, frozen=True, kw_only=True):
    """A verdict with its stable reason (a word that the log, the row, the event and the docs share)."""

    verdict: Verdict
    reason: str
    #: How long the provider asks to be left alone, seconds.
    retry_after_s: float | None = None
