"""All is well."""

from __future__ import annotations

from typing import Final

from models.account_state import RECONFIGURED as RECONFIGURED_CODE
from models.answer import Verdict
from worker.policy.reasons.reason import Reason

_COME_AGAIN: Final = "tokens come again"

REFRESHED: Final = Reason(Verdict.REFRESHED.value, "A new token was stored.")
STASH_ADOPTED: Final = Reason(
    "stash_adopted",
    "An answer that had waited in Redis for the database was stored.",
    action="nothing; why was the database away? `refreshd doctor`",
)
LOST_COMMIT_ADOPTED: Final = Reason(
    "lost_commit_adopted",
    "The database was older than Redis (a promoted replica that lagged, a restored backup); the answer that Redis had kept "
    "was stored again.",
    action="nothing for this account; which commits did the database lose? `refreshd doctor`",
)
KEPT_ANSWER_ADOPTED: Final = Reason(
    "kept_answer_adopted",
    "An answer that had once come too late was stored, because the newer grant was refused.",
)
PROVIDER_ANSWERS_AGAIN: Final = Reason("provider_answers_again", "The provider answers again.", _COME_AGAIN)
CLIENT_ACCEPTED_AGAIN: Final = Reason(
    "client_accepted_again", "The provider accepts the client again.", _COME_AGAIN
)
CREDENTIALS_REPLACED: Final = Reason("credentials_replaced", "Somebody stored new credentials.", _COME_AGAIN)
CONSENT_GIVEN: Final = Reason(
    "consent_given", "Its owner consented, and a new grant was stored.", _COME_AGAIN
)
RECONFIGURED: Final = Reason(
    RECONFIGURED_CODE,
    "The account was edited after it had failed; its next refresh will show whether that helped.",
    action="nothing; `refreshd refresh ACCOUNT --force --wait` to know now",
)
TESTED_NOT_STORED: Final = Reason(
    "tested_not_stored",
    "A test of the callback: it gave a token, which was not stored.",
    action="nothing; a rotated refresh token is kept for the next refresh",
)
REFRESH_TOKEN_ALONE: Final = Reason(
    "refresh_token_alone",
    "The answer held a new refresh token and no usable access token; the refresh token was stored, and is used next.",
    "no token if it lasts",
    "nothing; if it lasts, ask the provider why it leaves the access token out",
)
