"""Why a Connect session brought no grant: codes for programs, a sentence for the customer, an action for the operator.

`docs/connect.md` has this table. The customer's sentence is shown where there is no way back to `return_url`.
"""

from __future__ import annotations

from typing import Final, Self

from models.answer import Verdict
from models.tables import connect_session


class ConnectReason(str):
    """A reason's code, with what a customer reads and what an operator does."""

    __slots__ = ("action", "message")

    message: str
    action: str

    def __new__(cls, code: str, message: str, action: str) -> Self:
        reason = super().__new__(cls, code)
        reason.message, reason.action = message, action
        return reason

    def __reduce__(self) -> tuple[type[str], tuple[str]]:
        """Return what a copy, or another process, gets: the code."""
        return str, (str(self),)


REFUSED: Final = ConnectReason(
    "refused", "Access was not granted.", "nothing: the customer, or the customer's administrator, said no"
)
EXPIRED: Final = ConnectReason(
    connect_session.EXPIRED,
    "The time to connect is over.",
    "open a new session; a longer `expires_in_s` where customers need it",
)
MISCONFIGURED: Final = ConnectReason(
    "misconfigured",
    "The connection is not set up correctly.",
    "correct the client: `detail` has the provider's word (wrong secret, redirect URI or scope)",
)
WRONG_ISSUER: Final = ConnectReason(
    "wrong_issuer",
    "The answer came from another provider than the one that was asked.",
    "set the provider's `issuer` if `detail` names the right one; else somebody mixed two providers up (RFC 9207)",
)
PROVIDER_UNAVAILABLE: Final = ConnectReason(
    "provider_unavailable", "The provider can't be reached right now.", "open a new session later"
)
PROVIDER_ERROR: Final = ConnectReason(
    "provider_error", "The provider reported an error.", "read `detail`, the provider's own word"
)
CODE_REFUSED: Final = ConnectReason(
    "code_refused",
    "The provider did not accept its own answer.",
    "open a new session: the code had ended, was used before, or belongs to another client",
)
NO_REFRESH_TOKEN: Final = ConnectReason(
    "no_refresh_token",
    "The provider gave no lasting access.",
    "ask for offline access: `scope` or the provider's `authorize_params`; some give it at the first consent alone",
)
GRANT_IN_USE: Final = ConnectReason(
    "grant_in_use",
    "This account is connected already.",
    "use the account that `detail` names: it holds the same refresh token",
)
NOT_STORED: Final = ConnectReason(
    connect_session.NOT_STORED,
    "The connection could not be saved.",
    "read `detail`: the field, and what is wrong with it",
)
STORED_LATER: Final = ConnectReason(
    "stored_later",
    "The connection could not be completed yet.",
    "`refreshd refresh ID --force`: the database was away; the grant waits in Redis, sealed, and the account's next refresh stores it",
)
NO_WORKER: Final = ConnectReason(
    connect_session.NO_WORKER,
    "The connection could not be completed in time.",
    "start workers: none took the code (`refreshd status`)",
)
INTERRUPTED: Final = ConnectReason(
    connect_session.INTERRUPTED,
    "The connection was interrupted.",
    "open a new session: a worker ended before it had stored the grant",
)
LOST_SESSION: Final = ConnectReason(
    "lost_session",
    "This was begun in another browser, or this browser keeps no cookies.",
    "nothing: the session goes on in the browser that began it",
)

REASONS: Final[dict[str, ConnectReason]] = {
    str(value): value for value in list(vars().values()) if isinstance(value, ConnectReason)
}

#: Errors of a redirect (RFC 6749 section 4.1.2.1, OpenID Connect Core section 3.1.2.6, and providers' own words).
_OF_A_REDIRECT: Final[dict[str, ConnectReason]] = {
    **dict.fromkeys(
        (
            "access_denied",
            "consent_required",
            "interaction_required",
            "login_required",
            "account_selection_required",
            "user_cancelled_login",  # LinkedIn
            "user_cancelled_authorize",  # LinkedIn
            "user_denied",
            "access_denied_by_user",
            "consent_denied",
        ),
        REFUSED,
    ),
    **dict.fromkeys(
        (
            "invalid_request",
            "unauthorized_client",
            "unsupported_response_type",
            "invalid_scope",
            "invalid_client",
            "invalid_client_id",
            "redirect_uri_mismatch",
            "invalid_redirect_uri",
            "invalid_target",
        ),
        MISCONFIGURED,
    ),
    **dict.fromkeys(("server_error", "temporarily_unavailable"), PROVIDER_UNAVAILABLE),
}
_OF_A_VERDICT: Final[dict[Verdict, ConnectReason]] = {
    Verdict.RETRY: PROVIDER_UNAVAILABLE,
    Verdict.RATE_LIMITED: PROVIDER_UNAVAILABLE,
    Verdict.REAUTHORIZE: CODE_REFUSED,
    Verdict.MISCONFIGURED: MISCONFIGURED,
}


def reason_of_redirect(error: str) -> ConnectReason:
    """Return what an error of the provider's redirect means."""
    return _OF_A_REDIRECT.get(error.strip().casefold(), PROVIDER_ERROR)


def reason_of_verdict(verdict: Verdict) -> ConnectReason:
    """Return what a verdict on the exchange of a code means."""
    return _OF_A_VERDICT[verdict]


def reason_of_push(error: str | None, verdict: Verdict) -> ConnectReason:
    """Return what a refused push of what consent is asked with means (RFC 9126 section 2.3): an error of a redirect, sooner."""
    known = _OF_A_REDIRECT.get((error or "").casefold())
    if known is not None:
        return known
    # Nothing is exchanged yet: there is no code that could be refused.
    return MISCONFIGURED if verdict is Verdict.REAUTHORIZE else _OF_A_VERDICT[verdict]


def message_of(code: str | None) -> str:
    """Return what a customer reads of a reason."""
    found = REASONS.get(code or "")
    return found.message if found is not None else PROVIDER_ERROR.message
