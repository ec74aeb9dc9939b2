"""The table: every answer and error, what it means, and the word for it. Read from top to bottom.

Sources: RFC 6749 section 5.2, RFC 6585, RFC 9449, OpenID Connect Core 3.1.2.6, and the providers' own pages
where a row names one. Words are compared only where a code does not say it; they are in `verdict_phrases.py`.
"""

from __future__ import annotations

from typing import Final

from models.answer import BodyKind, Verdict
from worker.policy.verdicts.dead_grants import DEAD_BY_WORDS
from worker.policy.verdicts.faults import FAULTS
from worker.policy.verdicts.phrases import BY_WORDS
from worker.policy.verdicts.row import CLIENT_ERRORS, REDIRECTS, SERVER_ERRORS, SUCCESSES, Row
from worker.policy.verdicts.row import codes as _codes

#: Found, See Other, Temporary Redirect (RFC 9110 section 15.4): the token URL has not moved for good.
TEMPORARY_REDIRECTS: Final = frozenset({302, 303, 307})

_REAUTHORIZE: Final = Verdict.REAUTHORIZE
_MISCONFIGURED: Final = Verdict.MISCONFIGURED
_RETRY: Final = Verdict.RETRY
_RATE_LIMITED: Final = Verdict.RATE_LIMITED

#: Where the same code means two things: words, or a finer code, tell them apart.
EXCEPTIONS: Final = (
    *BY_WORDS,
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
        verdict=_RATE_LIMITED,
        reason="rate_limited",
        statuses=frozenset({429}),
        words="Too Many Requests (RFC 6585), whatever code stands beside it.",
    ),
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
            "expired_refresh_token",
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

#: Codes that providers also use for a refresh token that is dead: what they say in words counts before.
VAGUE_CODES: Final = (
    Row(
        verdict=_REAUTHORIZE,
        reason="refresh_token_invalid",
        errors=_codes("invalid_token"),
        refreshed_before=True,
        words="RFC 6750's code at a token endpoint that had given tokens: EVE Online, Spring.",
    ),
    Row(
        verdict=_MISCONFIGURED,
        reason="unauthorized_client",
        errors=_codes("unauthorized_client"),
        words="The client may not use this grant.",
    ),
    Row(
        verdict=_MISCONFIGURED,
        reason="invalid_request",
        errors=_codes("invalid_request"),
        words="A parameter is missing, repeated or malformed.",
    ),
)

STATUSES: Final = (
    Row(
        verdict=_RATE_LIMITED,
        reason="rate_limited",
        statuses=frozenset({403, 503}),
        has_retry_after=True,
        words="Forbidden or Service Unavailable, with the time to wait.",
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
        verdict=_RETRY,
        reason="page_instead_of_answer",
        statuses=TEMPORARY_REDIRECTS | CLIENT_ERRORS | SUCCESSES,
        body_kinds=frozenset({BodyKind.HTML}),
        refreshed_before=True,
        words="An HTML page, where the same configuration had brought tokens: a challenge, maintenance, a proxy.",
    ),
    Row(
        verdict=_RETRY,
        reason="page_instead_of_answer",
        statuses=TEMPORARY_REDIRECTS,
        refreshed_before=True,
        words="A temporary redirect, where the same configuration had brought tokens: maintenance, a proxy.",
    ),
    Row(
        verdict=_RETRY,
        reason="page_instead_of_answer",
        statuses=frozenset({403}),
        body_kinds=frozenset({BodyKind.TEXT}),
        refreshed_before=True,
        words="A text without an error code, where the same configuration had brought tokens: a firewall in between.",
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
        body_kinds=frozenset({BodyKind.HTML}),
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

TABLE: Final = FAULTS + EXCEPTIONS + CODES + DEAD_BY_WORDS + VAGUE_CODES + STATUSES
