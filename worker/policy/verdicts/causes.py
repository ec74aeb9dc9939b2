"""Causes of a refusal in the provider's own words, for `explain`. Their phrases are tested like those of the verdict table.

They change no verdict. They tell an operator what has to be done first.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Any, Final

from msgspec import Struct

from worker.policy.verdicts.row import DESCRIPTION, ERROR, Example, Phrase, words_of_sentence

#: The sentences of an answer that an attempt keeps.
_KEPT: Final = (ERROR, DESCRIPTION)


class Cause(StrEnum):
    """Why a grant, or a client, was refused."""

    USED_BEFORE = "used_before"
    PASSWORD_CHANGED = "password_changed"
    REVOKED = "revoked"
    EXPIRED = "expired"
    CLIENT_ID_MISSING = "client_id_missing"


class CauseRow(Struct, frozen=True):
    """A cause with the phrases that name it."""

    cause: Cause
    words: str
    phrases: tuple[Phrase, ...]


def _said(words: str, source: str, status: int = 400, /, **body: Any) -> Phrase:
    return Phrase(words=words, source=source, example=Example(status, body), where=_KEPT)


def _of_grant(words: str, source: str, description: str) -> Phrase:
    return _said(words, source, error="invalid_grant", error_description=description)


#: Compared from top to bottom; the first match counts.
CAUSES: Final = (
    CauseRow(
        Cause.USED_BEFORE,
        "Another program uses the same grant.",
        (
            _of_grant("already used", "supabase/auth#2136", "Invalid Refresh Token: Already Used"),
            _of_grant("already been used", "many servers", "The refresh token has already been used"),
            _of_grant("used before", "many servers", "refresh token was used before"),
            _of_grant("token reuse", "django-oauth/django-oauth-toolkit#1404", "token reuse detected"),
            _of_grant("reuse detected", "zitadel/zitadel#7321", "Refresh token reuse detected"),
            _said("refresh token reused", "decolua/9router#1821", 401, error="refresh_token_reused"),
        ),
    ),
    CauseRow(
        Cause.PASSWORD_CHANGED,
        "The owner changed the password.",
        (
            _of_grant(
                "changed or reset their password",
                "wkh237/react-native-azure-ad#31",
                "AADSTS50173: The provided grant has expired due to it being revoked. The user might have changed or "
                "reset their password.",
            ),
            _of_grant("changed password", "a callback", "user changed password"),
            _of_grant("changed the password", "a callback", "The user changed the password"),
            _of_grant("password was changed", "a callback", "The password was changed"),
            _of_grant("password has changed", "a callback", "The user's password has changed"),
            _of_grant("password has been changed", "a callback", "Password has been changed"),
        ),
    ),
    CauseRow(
        Cause.REVOKED,
        "The owner, or an administrator there, took the grant back, or it ended.",
        (
            _of_grant("expired or revoked", "Google's words", "Token has been expired or revoked."),
            _of_grant("has been revoked", "jasonraimondi/ts-oauth2-server", "Token has been revoked"),
            _of_grant("is revoked", "braintree/braintree_dotnet#87", "refresh token is revoked"),
            _of_grant("was revoked", "many servers", "The refresh token was revoked"),
            _of_grant("token revoked", "Slack", "token_revoked"),
        ),
    ),
    CauseRow(
        Cause.EXPIRED,
        "The refresh token came to its end.",
        (
            _of_grant(
                "due to inactivity",
                "blobfile/blobfile#93",
                "AADSTS700082: The refresh token has expired due to inactivity.",
            ),
            _of_grant(
                "inactivity timeout", "ChimeHQ/OAuthenticator#23", "Refresh token exceeded inactivity timeout"
            ),
            _of_grant("token has expired", "bshaffer/oauth2-server-php#216", "Refresh token has expired"),
            _of_grant("token expired", "many servers", "refresh token expired"),
            _of_grant("token is expired", "many servers", "Refresh token is expired"),
        ),
    ),
    CauseRow(
        Cause.CLIENT_ID_MISSING,
        "The client's id is wanted among the parameters, beside what proves the client.",
        (
            _said("missing client id", "mcp 2.3.0 (PyPI)", 401, error="invalid_client", error_description="Missing client_id"),
            _said("client id is required", "many servers", error="invalid_request", error_description="client_id is required"),
            _said("client id is missing", "many servers", error="invalid_request", error_description="client_id is missing"),
            _said("client id not found in the request", "wso2/financial-services-accelerator#390", error="invalid_request", error_description="Client ID not found in the request."),
            _said("missing required parameter client id", "oauthlib", error="invalid_request", error_description="Missing required parameter: client_id"),
            _said("check the client id parameter", "openemr/openemr#7182", error="invalid_request", error_description="Check the `client_id` parameter"),
        ),
    ),
)  # fmt: skip


def cause_of(sentences: Iterable[str | None]) -> Cause | None:
    """Return the cause that a provider's sentences name, None where they name none."""
    found = [words_of_sentence(sentence) for sentence in sentences if sentence]
    return next(
        (
            row.cause
            for row in CAUSES
            if any(phrase.stands_in(sentence) for phrase in row.phrases for sentence in found)
        ),
        None,
    )
