"""Rows of the verdict table that compare a provider's words. Each phrase has its source, and an answer as its test.

A vendor says never to branch on texts where a code exists; these are the providers that have none for what they say,
or that use one code for two things. Sources `OWNER/REPOSITORY#N` are public reports.
"""

from __future__ import annotations

from typing import Any, Final

from models.answer import Verdict
from worker.policy.reasons.correction import ACCESS_RESTRICTED
from worker.policy.reasons.passing import (
    ALREADY_BEING_PROCESSED,
    RATE_LIMITED,
    REFUSED_BEHIND_A_FAILURE,
    RETRY_ASKED,
    TOO_EARLY,
)
from worker.policy.verdicts.row import (
    DESCRIPTION,
    ERROR,
    REFUSALS,
    SERVER_ERRORS,
    Example,
    Phrase,
    Row,
    codes,
)

#: Beside these words a phrase about the refresh token means the request: it was absent, or malformed.
_OF_THE_REQUEST: Final = codes("missing", "required", "parameter", "must", "empty")
#: A bare "token" may be another token, whose end is not that of the grant.
_OF_ANOTHER_TOKEN: Final = _OF_THE_REQUEST | codes(
    "access", "assertion", "jwt", "client", "id", "csrf", "state", "bearer", "code"
)


def _phrase(words: str, source: str, status: int, /, **body: Any) -> Phrase:
    return Phrase(words=words, source=source, example=Example(status, body))


def dead(words: str, source: str, status: int, /, **body: Any) -> Phrase:
    """Return a phrase of a dead refresh token."""
    without = _OF_THE_REQUEST if "refresh" in words else _OF_ANOTHER_TOKEN
    return Phrase(words=words, source=source, example=Example(status, body), without=without)


#: Words that count with any code.
BY_WORDS: Final = (
    Row(
        verdict=Verdict.RETRY,
        reason=ALREADY_BEING_PROCESSED,
        errors=codes("invalid_grant"),
        phrases=(
            _phrase(
                "already being processed",
                "segmentio/action-destinations#2300",
                400,
                error="invalid_grant",
                error_description="token request is already being processed",
            ),
        ),
        words="Salesforce: another refresh with this token is under way.",
    ),
    Row(
        verdict=Verdict.RATE_LIMITED,
        reason=TOO_EARLY,
        phrases=(
            _phrase(
                "access token not expired",
                "websmurf/laravel-exact-online#31",
                400,
                error="access_denied",
                error_description="Rate limit exceeded: access_token not expired",
            ),
        ),
        words="Exact Online: the access token is not in its last 30 seconds yet.",
    ),
    Row(
        verdict=Verdict.RATE_LIMITED,
        reason=RATE_LIMITED,
        phrases=(
            _phrase(
                "too many requests",
                "Weble/ZohoBooksApi#84",
                400,
                error="Access Denied",
                error_description="You have made too many requests continuously. Please try again after some time.",
            ),
            _phrase(
                "rate limit exceeded",
                "https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api",
                403,
                message="API rate limit exceeded for 192.0.2.1.",
            ),
            _phrase(
                "exceeded a secondary rate limit",
                "https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api",
                403,
                message="You have exceeded a secondary rate limit. Please wait a few minutes before you try again.",
            ),
            _phrase(
                "login rate exceeded",
                "restforce/restforce#412",
                400,
                error="invalid_grant",
                error_description="login rate exceeded",
            ),
            Phrase(
                words="aadsts50196",
                where=(ERROR, DESCRIPTION),
                source="AzureAD/MSAL.PS#28",
                example=Example(
                    400,
                    {
                        "error": "invalid_grant",
                        "error_description": "AADSTS50196: The server terminated an operation because it encountered a "
                        "client request loop. Please contact your app vendor.",
                        "error_codes": [50196],
                    },
                ),
            ),
            Phrase(
                words="50196",
                where=("error_codes.0",),
                source="https://learn.microsoft.com/en-us/entra/identity-platform/reference-error-codes",
                example=Example(400, {"error": "invalid_request", "error_codes": [50196]}),
            ),
        ),
        words="Salesforce, Entra (a loop of requests), Zoho's `Access Denied`, and others that say it in words.",
    ),
    Row(
        verdict=Verdict.MISCONFIGURED,
        reason=ACCESS_RESTRICTED,
        errors=codes("invalid_grant", "access_denied"),
        phrases=(
            _phrase(
                "ip restricted",
                "sfdx-actions/setup-sfdx#17",
                400,
                error="invalid_grant",
                error_description="ip restricted",
            ),
            _phrase(
                "invalid login hours",
                "gravityplus/Gravity-Forms-Salesforce#272",
                400,
                error="invalid_grant",
                error_description="IP restricted or invalid login hours",
            ),
        ),
    ),
    Row(
        verdict=Verdict.RETRY,
        reason=RETRY_ASKED,
        statuses=REFUSALS,
        phrases=(
            _phrase(
                "retry your request",
                "amazon-connect/amazon-connect-salesforce-lambda#43",
                400,
                error="unknown_error",
                error_description="retry your request",
            ),
        ),
    ),
    Row(
        verdict=Verdict.RETRY,
        reason=REFUSED_BEHIND_A_FAILURE,
        statuses=SERVER_ERRORS,
        phrases=(
            _phrase(
                "token refresh failed 400",
                "@modelcontextprotocol/sdk 1.32.2, its proxy provider",
                500,
                error="server_error",
                error_description="Token refresh failed: 400",
            ),
            _phrase(
                "token refresh failed 401",
                "@modelcontextprotocol/sdk 1.32.2, its proxy provider",
                500,
                error="server_error",
                error_description="Token refresh failed: 401",
            ),
            dead(
                "invalid refresh token",
                "micronaut-projects/micronaut-security#235",
                500,
                message="Invalid refresh token",
            ),
        ),
    ),
)
