"""What a re-imported row does to an account that is there already. Pure: facts in, a decision with its reason out.

A file keeps the refresh token that it was written with; the account's has been rotated since. To put the file's
back would end the grant. So a stored token stays unless something shows that the file's is the newer one.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from models.account_state import Status, fingerprint
from models.token import Secret

if TYPE_CHECKING:  # tables bring the ORM, which a decision has no use for
    from models.tables.account import Account

NO_TOKEN_IN_FILE: Final = "no_token_in_file"
SAME_TOKEN: Final = "same_token"
NOTHING_STORED: Final = "nothing_stored"
REPLACE_ASKED_FOR: Final = "replace_asked_for"
OTHER_ACCESS_TOKEN: Final = "same_refresh_token_and_no_newer_access_token"
FILE_UNCHANGED: Final = "file_has_the_token_of_the_last_import"
ONCE_HELD: Final = "file_has_a_token_that_the_account_once_held"
ISSUED_LATER: Final = "files_token_was_issued_later"
NEW_AFTER_REFUSAL: Final = "account_needs_a_new_grant_and_the_files_was_never_seen"
NEVER_REFRESHED: Final = "stored_token_is_the_last_imports_own"
NOT_KNOWN_TO_BE_NEWER: Final = "files_token_is_not_known_to_be_newer"


class ImportOutcome(StrEnum):
    """What became of a row."""

    ADDED = "added"
    CHANGED = "changed"
    UNCHANGED = "unchanged"
    KEPT_NEWER = "kept_newer"
    FAILED = "failed"


class StoredTokens(StrEnum):
    """What happens to the account's tokens."""

    #: The file has none: the stored ones stay.
    NONE_GIVEN = "none_given"
    SAME = "same"
    TAKE = "take"
    KEEP = "keep"


class TokenFacts(Struct, frozen=True, kw_only=True):
    """What is known of the file's tokens and the stored ones.

    Fingerprints are of the refresh token, or of the access token where there is no other. Times are epoch seconds.
    """

    file_fp: str | None
    stored_fp: str | None
    #: Of the file that the stored tokens were last taken from.
    source_fp: str | None
    #: Every token that the file names is the stored one.
    same: bool
    #: An attempt of this account has sent or received the file's refresh token.
    once_held: bool = False
    file_issued_at: float | None = None
    stored_issued_at: float | None = None
    status: str = Status.ACTIVE


class Decision(Struct, frozen=True):
    """What to do with the file's tokens, and why."""

    tokens: StoredTokens
    reason: str


def decide(facts: TokenFacts, *, replace: bool = False) -> Decision:
    """Return whether the file's tokens are taken. `replace`: a person has said that they are."""
    if facts.file_fp is None:
        return Decision(StoredTokens.NONE_GIVEN, NO_TOKEN_IN_FILE)
    if facts.same:
        return Decision(StoredTokens.SAME, SAME_TOKEN)
    if facts.stored_fp is None:
        return Decision(StoredTokens.TAKE, NOTHING_STORED)
    if replace:
        return Decision(StoredTokens.TAKE, REPLACE_ASKED_FOR)
    return _newer(facts)


def outcome(decision: Decision, *, configuration_changed: bool) -> ImportOutcome:
    """Return what a row of an account that was there is counted as."""
    if configuration_changed or decision.tokens is StoredTokens.TAKE:
        return ImportOutcome.CHANGED
    return ImportOutcome.KEPT_NEWER if decision.tokens is StoredTokens.KEEP else ImportOutcome.UNCHANGED


def _newer(facts: TokenFacts) -> Decision:
    """Two different tokens: is the file's known to be the newer one?"""
    later = (
        facts.file_issued_at is not None
        and facts.stored_issued_at is not None
        and facts.file_issued_at > facts.stored_issued_at
    )
    if facts.file_fp == facts.stored_fp:
        # The refresh token is not rotated here, and the file has another access token beside it.
        return (
            Decision(StoredTokens.TAKE, ISSUED_LATER)
            if later
            else Decision(StoredTokens.KEEP, OTHER_ACCESS_TOKEN)
        )
    if facts.file_fp == facts.source_fp:
        return Decision(StoredTokens.KEEP, FILE_UNCHANGED)
    if facts.once_held:
        return Decision(StoredTokens.KEEP, ONCE_HELD)
    if later:
        return Decision(StoredTokens.TAKE, ISSUED_LATER)
    if facts.status == Status.REAUTHORIZE:
        return Decision(StoredTokens.TAKE, NEW_AFTER_REFUSAL)
    if facts.stored_fp == facts.source_fp:
        return Decision(StoredTokens.TAKE, NEVER_REFRESHED)
    return Decision(StoredTokens.KEEP, NOT_KNOWN_TO_BE_NEWER)


def replaces_alone(account: Account, access_token: Secret | None, refresh_token: Secret | None) -> bool:
    """Return whether another refresh token is given and no access token: the stored one may be another owner's."""
    return not access_token and fingerprint(refresh_token) not in {None, account.refresh_fp}
