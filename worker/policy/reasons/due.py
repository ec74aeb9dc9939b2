"""Why a token is due when it is."""

from __future__ import annotations

from typing import Final

from worker.policy.reasons.reason import Reason

_TOO_LONG: Final = "401 or 403 if it is longer than the token's life"

BEFORE_EXPIRY: Final = Reason(
    "before_expiry", "A margin before the token ends.", action="nothing; `margin_s` moves it"
)
SESSION_TIMEOUT: Final = Reason(
    "session_timeout",
    "Its session timeout counts from when the token was issued.",
    _TOO_LONG,
    "`session_management=auto`, or a shorter `session_timeout_s`",
)
SESSION_TIMEOUT_STANDS_IN: Final = Reason(
    "session_timeout_stands_in_for_expires_in",
    "The provider names no lifetime, so the session timeout stands in for it.",
    _TOO_LONG,
    "set `session_timeout_s` to the token's real life",
)
IN_REFRESH_WINDOW: Final = Reason(
    "in_the_providers_refresh_window", "The provider accepts a refresh only shortly before the end."
)
NO_TOKEN_YET: Final = Reason(
    "no_access_token_yet",
    "There is no access token yet.",
    "no token until then",
    "nothing; `refreshd refresh ACCOUNT --force` for now",
)
ISSUE_TIME_UNKNOWN: Final = Reason(
    "issue_time_unknown",
    "The token's age is unknown: it is refreshed soon, spread over the provider's rate.",
    action="import `issued_at` or `expires_at` to avoid it",
)
REFRESH_TOKEN_IDLE: Final = Reason(
    "before_the_refresh_token_ends_by_idling", "A refresh token that is not used would end."
)
REFRESH_TOKEN_ENDS: Final = Reason(
    "before_the_refresh_token_ends",
    "The refresh token has a hard end. Where no refresh moves it, its owner has to log in again before.",
    "has to log in again before it, if the refresh does not move it",
    "`refreshd accounts authorize ACCOUNT`",
)
CLIENT_SECRET_ENDS: Final = Reason(
    "before_the_client_secret_ends",
    "The client's secret has an end; without a new one the provider refuses all accounts of the client from then on.",
    "no token once theirs ends, for all of the client",
    "a new secret at the provider, then `refreshd clients edit NAME client_secret=@FILE client_secret_expires_at=TIME`",
)
EARLY_REFRESH: Final = Reason(
    "ahead_of_a_crowd",
    "More accounts come due than the provider takes, so some are begun early.",
)
ASKED_FOR: Final = Reason(
    "asked_for",
    "A person had many accounts refreshed at once (`refreshd refresh --provider NAME --force`).",
)
