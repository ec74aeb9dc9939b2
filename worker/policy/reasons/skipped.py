"""Why an account was not refreshed, and need not be."""

from __future__ import annotations

from typing import Final

from refreshd_reader.contract import PAUSED as PAUSED_CODE
from worker.policy.reasons.reason import Reason

_ENDS: Final = "no token once it ends"

GENERATION_MOVED: Final = Reason("generation_moved", "The token had been replaced meanwhile.")
UNKNOWN_ACCOUNT: Final = Reason(
    "unknown_account",
    "There was no such account any more.",
    "nothing, or no token",
    "`refreshd accounts list`; import it if it should be there",
)
LEASE_HELD: Final = Reason(
    "lease_held",
    "Another worker held the account's lease.",
    action="nothing; for minutes: `refreshd explain ACCOUNT` names the holder",
)
CALL_UNDER_WAY: Final = Reason(
    "call_under_way",
    "The call took longer than its group waited; it ends by itself.",
    action="nothing; the history has its end",
)
ATTEMPT_OPEN: Final = Reason(
    "attempt_open",
    "Another attempt was open; it ends with its claim (`REFRESHD_CLAIM_S`).",
    action="nothing; it is taken over by itself",
)
NOT_DUE_YET: Final = Reason(
    "not_due_yet",
    "It was not due: a message came twice, or late.",
    action="nothing; `refreshd refresh ACCOUNT --force` if it should be refreshed all the same",
)
SESSION_NONE: Final = Reason(
    "session_none",
    "Session management `none` plans nothing.",
    _ENDS,
    "`refreshd accounts edit ACCOUNT session_management=auto`",
)
REFRESH_DISABLED: Final = Reason(
    "refresh_disabled",
    "Refreshing is switched off for the account.",
    _ENDS,
    "`refreshd accounts enable ACCOUNT`",
)
PAUSED: Final = Reason(
    PAUSED_CODE,
    "A person paused the account, its provider, a label of it or everything.",
    _ENDS,
    "`refreshd pause` shows what is paused; `refreshd resume` with the same words (`ACCOUNT`, `--provider NAME`, `--label NAME=VALUE`, `--all`) ends it",
)
METHOD_NOT_RUN_HERE: Final = Reason(
    "refresh_method_not_run_by_this_worker",
    "It was passed on to the workers that run callbacks.",
    action="nothing; is there one? `refreshd callbacks list`",
)
REPORTED_TOO_SOON: Final = Reason(
    "reported_too_soon_after_the_last_report", "Another report had it refreshed a moment ago."
)
FRESH_TOKENS_REJECTED: Final = Reason(
    "the_api_rejects_fresh_tokens",
    "The API rejects fresh tokens too (three in a row, each younger than 45 s): a permission is missing, and no refresh helps.",
    "401 or 403, always",
    "`refreshd explain ACCOUNT` shows the scopes; the owner, or an administrator there, grants what is missing",
)
