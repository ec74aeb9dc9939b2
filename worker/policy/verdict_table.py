"""The table: every answer and error, what it means, and the word for it. Read from top to bottom.

Sources: RFC 6749 section 5.2, RFC 6585, RFC 9449, OpenID Connect Core 3.1.2.6, and the providers' own pages
where a row names one. A text is compared only where a provider has no code for what it says.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from models.answer import BodyKind, Fault, Verdict

ANY: Final[frozenset[str]] = frozenset()
SERVER_ERRORS: Final = frozenset(range(500, 600))
CLIENT_ERRORS: Final = frozenset(range(400, 500))
REDIRECTS: Final = frozenset(range(300, 400))
SUCCESSES: Final = frozenset(range(200, 300))


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table. Every condition that is given must hold; none given: it always holds."""

    verdict: Verdict
    reason: str
    words: str
    fault: Fault | None = None
    #: The error code, lower case.
    errors: frozenset[str] = ANY
    #: A finer code beside it: Microsoft's `suberror`, Google's `error_subtype`.
    suberrors: frozenset[str] = ANY
    #: A piece of the error's description (or of the code, where a provider puts a sentence there), lower case.
    text: str = ""
    #: Any error code at all.
    has_error: bool = False
    statuses: frozenset[int] = frozenset()
    has_retry_after: bool = False
    body_kind: BodyKind | None = None


def _codes(*codes: str) -> frozenset[str]:
    return frozenset(codes)


_REAUTHORIZE: Final = Verdict.REAUTHORIZE
_MISCONFIGURED: Final = Verdict.MISCONFIGURED
_RETRY: Final = Verdict.RETRY
_RATE_LIMITED: Final = Verdict.RATE_LIMITED

FAULTS: Final = (
    Row(
        verdict=_RETRY,
        reason="connection_failed",
        fault=Fault.CONNECT,
        words="No connection to the provider.",
    ),
    Row(verdict=_RETRY, reason="dns_failed", fault=Fault.DNS, words="The provider's name was not resolved."),
    Row(
        verdict=_RETRY,
        reason="tls_failed",
        fault=Fault.TLS,
        words="The provider's certificate is expired, unknown or for another name, or TLS failed otherwise.",
    ),
    Row(
        verdict=_MISCONFIGURED,
        reason="client_certificate_refused",
        fault=Fault.CLIENT_CERTIFICATE,
        words="The provider's TLS refused the client certificate.",
    ),
    Row(
        verdict=_RETRY,
        reason="timed_out",
        fault=Fault.TIMEOUT,
        words="The call did not end in time. The refresh token may be spent.",
    ),
    Row(
        verdict=_RETRY,
        reason="connection_broken",
        fault=Fault.BROKEN,
        words="The connection broke after the request was sent. The refresh token may be spent.",
    ),
    Row(
        verdict=_RETRY,
        reason="answer_broke_http",
        fault=Fault.BROKE_HTTP,
        words="An answer came that nothing can read as HTTP; the history has how it began. The refresh token may be spent.",
    ),
    Row(
        verdict=_RETRY,
        reason="answer_too_large",
        fault=Fault.TOO_LARGE,
        words="The answer is larger than 1 MiB and was not read to its end.",
    ),
    Row(
        verdict=_RETRY,
        reason="not_sent",
        fault=Fault.NOT_SENT,
        words="The time for the call was over before it began; nothing was sent.",
    ),
    Row(
        verdict=_MISCONFIGURED,
        reason="request_impossible",
        fault=Fault.UNBUILDABLE,
        words="No request can be made: a field that the provider needs is missing or unfit, or http:// is not allowed.",
    ),
    Row(
        verdict=_MISCONFIGURED,
        reason="dpop_key_unfit",
        fault=Fault.NO_PROOF,
        words="The account's `dpop_key` is missing, can't be read, or is no key for the provider's `dpop`; nothing was sent.",
    ),
    Row(
        verdict=_MISCONFIGURED,
        reason="token_url_host_not_allowed",
        fault=Fault.HOST_NOT_ALLOWED,
        words="The provider's data does not name this host among its `hosts`; nothing was sent.",
    ),
    Row(
        verdict=_MISCONFIGURED,
        reason="private_address",
        fault=Fault.ADDRESS_REFUSED,
        words="The URL leads to a private address, which REFRESHD_BLOCK_PRIVATE_NETWORKS forbids; nothing was sent.",
    ),
    Row(
        verdict=_RETRY,
        reason="callback_failed",
        fault=Fault.CALLBACK,
        words="The callback raised an error, ended its process, or returned something that is no output.",
    ),
    Row(
        verdict=_MISCONFIGURED,
        reason="callback_unknown",
        fault=Fault.NO_CALLBACK,
        words="There is no callback of this name.",
    ),
    Row(
        verdict=_RETRY,
        reason="internal_error",
        fault=Fault.INTERNAL,
        words="refreshd itself failed, which is a bug: the worker's log has it. The refresh token may be spent.",
    ),
)

#: Where the same code means two things and nothing but a text tells them apart.
EXCEPTIONS: Final = (
    Row(
        verdict=_RETRY,
        reason="already_being_processed",
        errors=_codes("invalid_grant"),
        text="already being processed",
        words="Salesforce: another refresh with this token is under way.",
    ),
    Row(
        verdict=_RATE_LIMITED,
        reason="too_early",
        text="access_token not expired",
        words="Exact Online: the access token is not in its last 30 seconds yet.",
    ),
    Row(
        verdict=_RATE_LIMITED,
        reason="rate_limited",
        text="too many requests",
        words="Zoho's `Access Denied`, and others that say it in words.",
    ),
    Row(
        verdict=_REAUTHORIZE,
        reason="refresh_token_invalid",
        errors=_codes("unauthorized_client"),
        text="refresh_token is invalid",
        words="Atlassian: the refresh token is unknown, expired or revoked.",
    ),
    Row(
        verdict=_REAUTHORIZE,
        reason="interaction_required",
        suberrors=_codes(
            "bad_token",
            "user_password_expired",
            "basic_action",
            "additional_action",
            "token_expired",
            "consent_required",
            "invalid_rapt",
            "rapt_required",
        ),
        words="Microsoft's `suberror` or Google's `error_subtype` asks for the user.",
    ),
)

CODES: Final = (
    Row(
        verdict=_REAUTHORIZE,
        reason="invalid_grant",
        errors=_codes("invalid_grant"),
        words="The refresh token is invalid, expired, revoked, or was used before.",
    ),
    Row(
        verdict=_REAUTHORIZE,
        reason="interaction_required",
        errors=_codes(
            "interaction_required", "login_required", "consent_required", "account_selection_required"
        ),
        words="The provider asks for the user.",
    ),
    Row(
        verdict=_REAUTHORIZE,
        reason="refresh_token_invalid",
        errors=_codes(
            "bad_refresh_token",
            "invalid_refresh_token",
            "refresh_token_expired",
            "invalid-refresh-token",
            "expired-refresh-token",
            "invalid_code",
            "token_revoked",
            "token_expired",
            "account_inactive",
        ),
        words="GitHub, HubSpot, Slack, Zoho, Follow Up Boss: the refresh token is invalid, expired or revoked.",
    ),
    Row(
        verdict=_MISCONFIGURED,
        reason="invalid_client",
        errors=_codes(
            "invalid_client",
            "bad_client_secret",
            "invalid_client_id",
            "invalid_client_secret",
            "incorrect_client_credentials",
        ),
        words="The client's id, secret or way of authentication is wrong, or its secret has expired.",
    ),
    Row(
        verdict=_MISCONFIGURED,
        reason="unauthorized_client",
        errors=_codes("unauthorized_client"),
        words="The client may not use this grant.",
    ),
    Row(
        verdict=_MISCONFIGURED,
        reason="unsupported_grant_type",
        errors=_codes("unsupported_grant_type", "invalid_grant_type"),
        words="The provider does not know this grant.",
    ),
    Row(
        verdict=_MISCONFIGURED,
        reason="invalid_scope",
        errors=_codes("invalid_scope"),
        words="The scope is unknown or wider than what was granted.",
    ),
    Row(
        verdict=_MISCONFIGURED,
        reason="invalid_target",
        errors=_codes("invalid_target", "invalid_resource"),
        words="The resource or audience is unknown (RFC 8707).",
    ),
    Row(
        verdict=_MISCONFIGURED,
        reason="invalid_dpop_proof",
        errors=_codes("invalid_dpop_proof"),
        words="The provider refused the proof of possession: the key, its algorithm, the URL or the clock (RFC 9449).",
    ),
    Row(
        verdict=_MISCONFIGURED,
        reason="invalid_request",
        errors=_codes("invalid_request"),
        words="A parameter is missing, repeated or malformed.",
    ),
    Row(
        verdict=_RATE_LIMITED,
        reason="rate_limited",
        errors=_codes(
            "ratelimited",
            "rate_limited",
            "accesslimited",
            "rate_limit_exceeded",
            "too_many_requests",
            "slow_down",
        ),
        words="The provider says that it is asked too often.",
    ),
    Row(
        verdict=_RETRY,
        reason="server_error",
        errors=_codes(
            "server_error", "internal_failure", "internal_error", "fatal_error", "internal_server_error"
        ),
        words="The provider failed.",
    ),
    Row(
        verdict=_RETRY,
        reason="temporarily_unavailable",
        errors=_codes("temporarily_unavailable", "service_unavailable", "request_timeout"),
        words="The provider is overloaded or under maintenance.",
    ),
    Row(
        verdict=_RETRY,
        reason="dpop_nonce_required",
        errors=_codes("use_dpop_nonce"),
        words="The provider asked for its nonce (RFC 9449 section 8), and then did not take the one it gave, or gave none.",
    ),
)

STATUSES: Final = (
    Row(verdict=_RATE_LIMITED, reason="rate_limited", statuses=frozenset({429}), words="Too Many Requests."),
    Row(
        verdict=_RATE_LIMITED,
        reason="rate_limited",
        statuses=frozenset({503}),
        has_retry_after=True,
        words="Service Unavailable, with the time to wait.",
    ),
    Row(
        verdict=_RETRY,
        reason="server_error",
        statuses=SERVER_ERRORS,
        words="The provider, or a gateway, failed.",
    ),
    Row(
        verdict=_RETRY,
        reason="timed_out",
        statuses=frozenset({408, 425}),
        words="Request Timeout, Too Early.",
    ),
    Row(
        verdict=_RETRY,
        reason="conflict",
        statuses=frozenset({409, 423}),
        words="Conflict, Locked: another refresh of this account is under way (Box).",
    ),
    Row(
        verdict=_MISCONFIGURED,
        reason="redirected",
        statuses=REDIRECTS,
        words="The token URL redirects. Credentials do not follow: correct the URL.",
    ),
    Row(
        verdict=_MISCONFIGURED,
        reason="no_token_endpoint",
        statuses=frozenset({404, 405, 410}),
        words="There is no token endpoint at this URL, or not for this method.",
    ),
    Row(
        verdict=_MISCONFIGURED,
        reason="html_page",
        body_kind=BodyKind.HTML,
        words="An HTML page instead of an answer: a login page, a proxy, a wrong URL.",
    ),
    Row(
        verdict=_MISCONFIGURED,
        reason="unknown_error",
        has_error=True,
        statuses=CLIENT_ERRORS,
        words="The provider refused, in words that neither it nor this table explains.",
    ),
    Row(
        verdict=_MISCONFIGURED,
        reason="client_refused",
        statuses=frozenset({401, 403}),
        words="The provider refused the client, without an error code.",
    ),
    Row(
        verdict=_MISCONFIGURED,
        reason="refused",
        statuses=CLIENT_ERRORS,
        words="The provider refused the request.",
    ),
    Row(
        verdict=_RETRY,
        reason="unknown_error",
        has_error=True,
        words="A success that holds an error which neither the provider's rules nor this table explain.",
    ),
    Row(
        verdict=_RETRY,
        reason="no_token",
        words="An answer with neither a token nor an error. The refresh token may be spent.",
    ),
)

TABLE: Final = FAULTS + EXCEPTIONS + CODES + STATUSES
