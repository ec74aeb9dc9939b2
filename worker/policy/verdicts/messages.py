"""Every reason in words, for people: the verdict table's own, and those of the path around it."""

from __future__ import annotations

from typing import Final

from models.account import RECONFIGURED, TOKEN_ENDED
from models.attempt import INTERRUPTED
from models.rate_limit import WaitReason
from worker.policy import eligibility as gate
from worker.policy import rejected_tokens as reported
from worker.policy.confirmation import PROBABLY_DEAD, TO_BE_CONFIRMED
from worker.policy.due import REFRESH_TOKEN_ENDS
from worker.policy.verdicts.table import TABLE

PROVIDER_ANSWERS_AGAIN: Final = "provider_answers_again"
CLIENT_ACCEPTED_AGAIN: Final = "client_accepted_again"

_OWN: Final = {
    PROVIDER_ANSWERS_AGAIN: "The provider answers again.",
    CLIENT_ACCEPTED_AGAIN: "The provider accepts the client again.",
    REFRESH_TOKEN_ENDS: "The refresh token ends, and no refresh moves that: its owner has to log in again before.",
    TO_BE_CONFIRMED: "The provider refused the grant once; one more try, which costs nothing, shows whether it meant it.",
    PROBABLY_DEAD: "The grant is probably dead: the provider refuses it behind a failure of its own, again and again.",
    RECONFIGURED: "The account was edited after it had failed; its next refresh will show whether that helped.",
    TOKEN_ENDED: "Its token ended while it waited to be refreshed.",
    "credentials_replaced": "Somebody stored new credentials.",
    INTERRUPTED: "A worker was interrupted after it had opened the attempt; whether the provider saw it is unknown.",
    WaitReason.SPENT: "The provider's rate or its calls in flight were used up.",
    WaitReason.THROTTLED: "The provider had asked to be left alone (429): a gate held the account.",
    WaitReason.DOWN: "The origin was down for several accounts: a gate held this one.",
    WaitReason.REFUSED: "The provider had refused the same client for several accounts: a gate held this one.",
    gate.GENERATION_MOVED: "The token had been replaced meanwhile.",
    gate.UNKNOWN_ACCOUNT: "There was no such account any more.",
    gate.LEASE_HELD: "Another worker held the account's lease.",
    gate.ATTEMPT_OPEN: "Another attempt was open.",
    gate.REFRESH_DISABLED: "Refreshing is switched off for the account.",
    gate.SESSION_NONE: "The account's session management is `none`.",
    gate.NOT_DUE_YET: "It was not due.",
    gate.NEEDS_REAUTHORIZATION: "The account's owner has to log in again first.",
    reported.REPORTED_TOO_SOON: "Another report had it refreshed a moment ago.",
    reported.FRESH_TOKENS_REJECTED: "The API rejects fresh tokens too: a permission is missing, not a token.",
    "refreshed": "A new token was stored.",
    "refresh_token_alone": "The answer held a new refresh token and no usable access token; the refresh token was stored, and is used next.",
    "stash_adopted": "An answer that had waited in Redis was stored.",
    "tested_not_stored": "A test of the callback: it gave a token, which was not stored.",
    "refresh_method_not_run_by_this_worker": "It was passed on to the workers that run callbacks.",
    "kept_answer_adopted": "An answer that had once come too late was stored.",
    "key_missing": "A secret of the account is sealed with a key that the worker does not have.",
    "seal_broken": "A secret of the account does not open.",
    "stash_unreadable": "An answer that waits in Redis does not open, so that nobody knows whether the refresh token is spent.",
    "answer_stashed_until_the_database_is_back": "An answer arrived, and waits in Redis, sealed, for the database.",
    "call_under_way": "The call took longer than its group waited; it ends by itself.",
    "redis_unreachable": "The worker could not reach Redis.",
    "database_unreachable": "The worker could not reach the database.",
    "access_token_invalid": "The access token, which is exchanged for the next one, is invalid, expired or revoked.",
    "paused": "A person paused the account, its provider or everything.",
    "provider_knobs_unfit": "What the account sets itself does not fit its provider as that is described now.",
    "provider_unknown": "The provider is described nowhere, and the account gives no token URL.",
}


#: Of reasons that several rows of the table give, whose words are of one kind of answer each.
_OF_ALL_ROWS: Final = {
    "interaction_required": "The provider asks for the user.",
    "rate_limited": "The provider says that it is asked too often.",
    "refresh_token_invalid": "The refresh token is invalid, expired or revoked.",
    "server_error": "The provider, or a gateway before it, failed.",
    "page_instead_of_answer": "A page, a redirect or a text came instead of an answer, where the same configuration had brought tokens.",
}


def words_of(reason: str) -> str:
    """Say a reason in words; one that is not ours is said as it is."""
    if (words := _OF_ALL_ROWS.get(reason)) is not None:
        return words
    row = next((row for row in TABLE if row.reason == reason), None)
    return row.words if row is not None else _OWN.get(reason, f"{reason}.")
