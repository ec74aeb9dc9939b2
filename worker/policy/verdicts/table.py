"""The verdict table: every answer and error with its verdict and reason. Rows are compared from top to bottom.

Sources: RFC 6749 section 5.2, RFC 6585, RFC 9449, OpenID Connect Core 3.1.2.6, and the providers' own pages
where a row names one. Words are compared only where no code is clear; they are in `phrases.py`.
"""

from __future__ import annotations

from typing import Final

from models.answer import BodyKind, Verdict
from worker.policy.reasons.correction import (
    CLIENT_REFUSED,
    HTML_PAGE,
    INVALID_CLIENT,
    INVALID_DPOP_PROOF,
    INVALID_REQUEST,
    INVALID_SCOPE,
    INVALID_TARGET,
    NO_TOKEN_ENDPOINT,
    REDIRECTED,
    REFUSED,
    UNAUTHORIZED_CLIENT,
    UNKNOWN_ERROR,
    UNSUPPORTED_GRANT_TYPE,
)
from worker.policy.reasons.login import INTERACTION_REQUIRED, INVALID_GRANT, REFRESH_TOKEN_INVALID
from worker.policy.reasons.passing import (
    CONFLICT,
    DPOP_NONCE_REQUIRED,
    NO_TOKEN,
    PAGE_INSTEAD_OF_ANSWER,
    RATE_LIMITED,
    SERVER_ERROR,
    TEMPORARILY_UNAVAILABLE,
    TIMED_OUT,
)
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

#: Codes that mean two things: words, or a finer code, distinguish them.
EXCEPTIONS: Final = (
    *BY_WORDS,
    Row(
        verdict=_REAUTHORIZE,
        reason=INTERACTION_REQUIRED,
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
        reason=RATE_LIMITED,
        statuses=frozenset({429}),
        words="Too Many Requests (RFC 6585), whatever code stands beside it.",
    ),
    Row(
        verdict=_REAUTHORIZE,
        reason=INVALID_GRANT,
        errors=_codes("invalid_grant"),
    ),
    Row(
        verdict=_REAUTHORIZE,
        reason=INTERACTION_REQUIRED,
        errors=_codes(
            "interaction_required", "login_required", "consent_required", "account_selection_required"
        ),
    ),
    Row(
        verdict=_REAUTHORIZE,
        reason=REFRESH_TOKEN_INVALID,
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
        reason=INVALID_CLIENT,
        errors=_codes(
            "invalid_client",
            "bad_client_secret",
            "invalid_client_id",
            "invalid_client_secret",
            "incorrect_client_credentials",
        ),
    ),
    Row(
        verdict=_MISCONFIGURED,
        reason=UNSUPPORTED_GRANT_TYPE,
        errors=_codes("unsupported_grant_type", "invalid_grant_type"),
    ),
    Row(
        verdict=_MISCONFIGURED,
        reason=INVALID_SCOPE,
        errors=_codes("invalid_scope"),
    ),
    Row(
        verdict=_MISCONFIGURED,
        reason=INVALID_TARGET,
        errors=_codes("invalid_target", "invalid_resource"),
    ),
    Row(
        verdict=_MISCONFIGURED,
        reason=INVALID_DPOP_PROOF,
        errors=_codes("invalid_dpop_proof"),
    ),
    Row(
        verdict=_RATE_LIMITED,
        reason=RATE_LIMITED,
        errors=_codes(
            "ratelimited",
            "rate_limited",
            "accesslimited",
            "rate_limit_exceeded",
            "too_many_requests",
            "slow_down",
        ),
    ),
    Row(
        verdict=_RETRY,
        reason=SERVER_ERROR,
        errors=_codes(
            "server_error", "internal_failure", "internal_error", "fatal_error", "internal_server_error"
        ),
    ),
    Row(
        verdict=_RETRY,
        reason=TEMPORARILY_UNAVAILABLE,
        errors=_codes("temporarily_unavailable", "service_unavailable", "request_timeout"),
    ),
    Row(
        verdict=_RETRY,
        reason=DPOP_NONCE_REQUIRED,
        errors=_codes("use_dpop_nonce"),
    ),
)

#: Codes that providers also use for a dead refresh token; their words are compared before.
VAGUE_CODES: Final = (
    Row(
        verdict=_REAUTHORIZE,
        reason=REFRESH_TOKEN_INVALID,
        errors=_codes("invalid_token"),
        refreshed_before=True,
        words="RFC 6750's code at a token endpoint that had given tokens: EVE Online, Spring.",
    ),
    Row(
        verdict=_MISCONFIGURED,
        reason=UNAUTHORIZED_CLIENT,
        errors=_codes("unauthorized_client"),
    ),
    Row(
        verdict=_MISCONFIGURED,
        reason=INVALID_REQUEST,
        errors=_codes("invalid_request"),
    ),
)

STATUSES: Final = (
    Row(
        verdict=_RATE_LIMITED,
        reason=RATE_LIMITED,
        statuses=frozenset({403, 503}),
        has_retry_after=True,
        words="Forbidden or Service Unavailable, with the time to wait.",
    ),
    Row(
        verdict=_RETRY,
        reason=SERVER_ERROR,
        statuses=SERVER_ERRORS,
    ),
    Row(
        verdict=_RETRY,
        reason=TIMED_OUT,
        statuses=frozenset({408, 425}),
        words="Request Timeout, Too Early.",
    ),
    Row(
        verdict=_RETRY,
        reason=CONFLICT,
        statuses=frozenset({409, 423}),
        words="Conflict, Locked: another refresh of this account is under way (Box).",
    ),
    Row(
        verdict=_RETRY,
        reason=PAGE_INSTEAD_OF_ANSWER,
        statuses=TEMPORARY_REDIRECTS | CLIENT_ERRORS | SUCCESSES,
        body_kinds=frozenset({BodyKind.HTML}),
        refreshed_before=True,
        words="An HTML page, where the same configuration had brought tokens: a challenge, maintenance, a proxy.",
    ),
    Row(
        verdict=_RETRY,
        reason=PAGE_INSTEAD_OF_ANSWER,
        statuses=TEMPORARY_REDIRECTS,
        refreshed_before=True,
        words="A temporary redirect, where the same configuration had brought tokens: maintenance, a proxy.",
    ),
    Row(
        verdict=_RETRY,
        reason=PAGE_INSTEAD_OF_ANSWER,
        statuses=frozenset({403}),
        body_kinds=frozenset({BodyKind.TEXT}),
        refreshed_before=True,
        words="A text without an error code, where the same configuration had brought tokens: a firewall in between.",
    ),
    Row(
        verdict=_MISCONFIGURED,
        reason=REDIRECTED,
        statuses=REDIRECTS,
    ),
    Row(
        verdict=_MISCONFIGURED,
        reason=NO_TOKEN_ENDPOINT,
        statuses=frozenset({404, 405, 410}),
    ),
    Row(
        verdict=_MISCONFIGURED,
        reason=HTML_PAGE,
        body_kinds=frozenset({BodyKind.HTML}),
    ),
    Row(
        verdict=_MISCONFIGURED,
        reason=UNKNOWN_ERROR,
        has_error=True,
        statuses=CLIENT_ERRORS,
    ),
    Row(
        verdict=_MISCONFIGURED,
        reason=CLIENT_REFUSED,
        statuses=frozenset({401, 403}),
    ),
    Row(
        verdict=_MISCONFIGURED,
        reason=REFUSED,
        statuses=CLIENT_ERRORS,
    ),
    Row(
        verdict=_RETRY,
        reason=UNKNOWN_ERROR,
        has_error=True,
        words="A success that holds an error which neither the provider's rules nor this table explain.",
    ),
    Row(
        verdict=_RETRY,
        reason=NO_TOKEN,
    ),
)

TABLE: Final = FAULTS + EXCEPTIONS + CODES + DEAD_BY_WORDS + VAGUE_CODES + STATUSES
