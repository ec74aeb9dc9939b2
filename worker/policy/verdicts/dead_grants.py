"""Rows of the verdict table for a dead grant that only the provider's words name, without a clear code."""

from __future__ import annotations

from typing import Final

from models.answer import Verdict
from worker.policy.reasons.login import REFRESH_TOKEN_INVALID
from worker.policy.verdicts.phrases import dead
from worker.policy.verdicts.row import DESCRIPTION, REFUSALS, Example, Phrase, Row

#: The same statement in other words: a variant of a phrase that was seen.
_KIN: Final = "of the same kind as its neighbours"
_TS_OAUTH2_SERVER: Final = "jasonraimondi/ts-oauth2-server src/grants/refresh_token.grant.ts"

DEAD_BY_WORDS: Final = (
    Row(
        verdict=Verdict.REAUTHORIZE,
        reason=REFRESH_TOKEN_INVALID,
        statuses=REFUSALS,
        phrases=(
            dead(
                "invalid refresh token",
                "authlib/authlib#112",
                400,
                error="invalid_request",
                error_description='Invalid "refresh_token" in request.',
            ),
            dead(
                "invalid refresh token",
                "spring-projects/spring-security-oauth#1009",
                401,
                error="invalid_token",
                error_description="Invalid refresh token (expired): 8f3e",
            ),
            dead(
                "refresh token is invalid",
                "wix-incubator/DeviantArt-API#58",
                400,
                error="invalid_request",
                error_description="The refresh_token is invalid.",
                status="error",
            ),
            dead(
                "refresh token is invalid",
                "https://community.developer.atlassian.com/t/83103",
                403,
                error="unauthorized_client",
                error_description="refresh_token is invalid",
            ),
            dead(
                "refresh token has expired",
                "bshaffer/oauth2-server-php#216",
                400,
                error="invalid_request",
                error_description="Refresh token has expired",
            ),
            dead("refresh token expired", _KIN, 400, error="invalid_request: refresh token expired"),
            dead(
                "refresh token is expired",
                _KIN,
                400,
                error="invalid_request",
                error_description="Refresh token is expired",
            ),
            dead("expired refresh token", _KIN, 401, detail="Invalid or expired refresh token"),
            dead(
                "refresh token is revoked",
                "braintree/braintree_dotnet#87",
                400,
                message="Refresh token is revoked",
            ),
            dead(
                "refresh token has been revoked",
                _KIN,
                400,
                error="invalid_request",
                error_description="The refresh token has been revoked",
            ),
            dead(
                "refresh token was revoked",
                _KIN,
                400,
                error="invalid_request",
                error_description="refresh token was revoked",
            ),
            dead("refresh token revoked", _KIN, 401, error="unauthorized", message="Refresh token revoked"),
            dead(
                "refresh token not found",
                "intuit/oauth-jsclient#77",
                400,
                error="invalid_request",
                error_description="Refresh token not found: AB11",
            ),
            dead(
                "unknown refresh token",
                _KIN,
                400,
                error="invalid_request",
                error_description="unknown refresh token",
            ),
            dead(
                "session not found",
                "better-auth/better-auth#8103",
                400,
                error="invalid_request",
                error_description="session not found",
            ),
            dead(
                "cannot decrypt the refresh token",
                "thephpleague/oauth2-server#880",
                400,
                error="invalid_request",
                hint="Cannot decrypt the refresh token",
            ),
            dead(
                "cannot verify the refresh token",
                _TS_OAUTH2_SERVER,
                400,
                error="invalid_request",
                error_description="Cannot verify the refresh token",
            ),
            Phrase(
                words="token is not linked to client",
                source=_TS_OAUTH2_SERVER,
                example=Example(
                    400, {"error": "invalid_request", "error_description": "Token is not linked to client"}
                ),
            ),
            dead(
                "token has been revoked",
                _TS_OAUTH2_SERVER,
                400,
                error="invalid_request",
                error_description="Token has been revoked",
            ),
            dead(
                "token has been expired or revoked",
                "Google's words for a dead grant",
                400,
                error="invalid_request",
                error_description="Token has been expired or revoked.",
            ),
            dead(
                "token is expired or invalid",
                "ccpgames/sso-issues#54",
                400,
                error="invalid_request",
                error_description="Token is expired or invalid.",
            ),
            dead(
                "token was revoked", _KIN, 400, error="invalid_request", error_description="token was revoked"
            ),
            dead(
                "token is revoked", _KIN, 400, error="invalid_request", error_description="Token is revoked"
            ),
            dead(
                "token has expired",
                _TS_OAUTH2_SERVER,
                400,
                error="invalid_request",
                error_description="Token has expired",
            ),
            dead("token expired", _KIN, 401, error="invalid_token", error_description="Token expired"),
            dead(
                "token is expired", _KIN, 401, error="invalid_token", error_description="The token is expired"
            ),
            Phrase(
                words="expired",
                whole=True,
                where=(DESCRIPTION, "message", "detail", "reason"),
                source="better-auth/better-auth#8103",
                example=Example(400, {"error": "invalid_request", "error_description": "expired"}),
            ),
            Phrase(
                words="revoked",
                whole=True,
                where=(DESCRIPTION, "message", "detail", "reason"),
                source=_KIN,
                example=Example(400, {"error": "invalid_request", "error_description": "revoked"}),
            ),
            Phrase(
                words="invalid token",
                whole=True,
                where=("reason",),
                source="calcom/cal.diy#729",
                example=Example(401, {"reason": "Invalid Token!", "error": "invalid_request"}),
            ),
        ),
        words="The refresh token is invalid, expired, revoked or unknown, in the provider's own words.",
    ),
)
