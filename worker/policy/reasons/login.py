"""The owner of the account has to log in again, or may have to."""

from __future__ import annotations

from typing import Final

from worker.policy.reasons.reason import Reason

_THEIRS_ENDS: Final = "no token once theirs ends"
_AUTHORIZE: Final = (
    "`refreshd explain ACCOUNT` (did another account or program use it? `shared_grant` names the account), then "
    "`refreshd accounts authorize ACCOUNT`"
)

INVALID_GRANT: Final = Reason(
    "invalid_grant",
    "The refresh token is invalid, expired, revoked, or was used before.",
    _THEIRS_ENDS,
    _AUTHORIZE,
)
REFRESH_TOKEN_INVALID: Final = Reason(
    "refresh_token_invalid",
    "The refresh token is invalid, expired or revoked, in the provider's own words or code.",
    _THEIRS_ENDS,
    _AUTHORIZE,
)
ACCESS_TOKEN_INVALID: Final = Reason(
    "access_token_invalid",
    "The access token, which is exchanged for the next one, is invalid, expired or revoked.",
    _THEIRS_ENDS,
    _AUTHORIZE,
)
INTERACTION_REQUIRED: Final = Reason(
    "interaction_required",
    "The provider asks for the user: consent, a second factor, a new password.",
    _THEIRS_ENDS,
    "`refreshd accounts authorize ACCOUNT`",
)
TO_BE_CONFIRMED: Final = Reason(
    "refusal_to_be_confirmed",
    "The provider refused the grant once; one more try, a minute later, which costs nothing, shows whether it meant it.",
)
PROBABLY_DEAD: Final = Reason(
    "grant_probably_dead",
    "The grant is probably dead: the provider refuses it behind a failure of its own (5xx), again and again.",
    "no token",
    "`refreshd explain ACCOUNT`; `refreshd accounts authorize ACCOUNT`. It is tried on",
)
NO_GRANT_YET: Final = Reason(
    "no_grant_yet",
    "The account was created through the API without a grant: its owner has not consented yet.",
    "no token until then",
    "nothing; `PUT /v1/accounts/{id}/grant`, or a Connect session, connects it",
)
NEEDS_REAUTHORIZATION: Final = Reason(
    "needs_reauthorization",
    "The account's owner has to log in again first; no plan and no report has it refreshed.",
    _THEIRS_ENDS,
    f"{_AUTHORIZE}; `refreshd refresh ACCOUNT --force --wait` tries the old grant once more",
)
