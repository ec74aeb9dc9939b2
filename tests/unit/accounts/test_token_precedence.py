"""What a re-import does to stored tokens: a table, and what must hold whatever the facts are."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.tables.account import Status
from worker.accounts import token_precedence as reasons
from worker.accounts.token_precedence import (
    Decision,
    ImportOutcome,
    StoredTokens,
    TokenFacts,
    decide,
    outcome,
)

FILE, STORED, SOURCE = "file", "stored", "source"


def facts(**known: Any) -> TokenFacts:
    return TokenFacts(**{"file_fp": FILE, "stored_fp": STORED, "source_fp": SOURCE, "same": False, **known})


@pytest.mark.parametrize(
    ("known", "tokens", "reason"),
    [
        ({"file_fp": None}, StoredTokens.NONE_GIVEN, reasons.NO_TOKEN_IN_FILE),
        ({"same": True}, StoredTokens.SAME, reasons.SAME_TOKEN),
        ({"stored_fp": None}, StoredTokens.TAKE, reasons.NOTHING_STORED),
        # The file is the one that was imported last, and the account was refreshed since.
        ({"source_fp": FILE}, StoredTokens.KEEP, reasons.FILE_UNCHANGED),
        ({"source_fp": FILE, "status": Status.REAUTHORIZE}, StoredTokens.KEEP, reasons.FILE_UNCHANGED),
        (
            {"source_fp": FILE, "file_issued_at": 20.0, "stored_issued_at": 10.0},
            StoredTokens.KEEP,
            reasons.FILE_UNCHANGED,
        ),
        # The file's token is one that the account has had: spent, whatever its issued_at says.
        ({"once_held": True}, StoredTokens.KEEP, reasons.ONCE_HELD),
        (
            {"once_held": True, "file_issued_at": 20.0, "stored_issued_at": 10.0},
            StoredTokens.KEEP,
            reasons.ONCE_HELD,
        ),
        ({"once_held": True, "status": Status.REAUTHORIZE}, StoredTokens.KEEP, reasons.ONCE_HELD),
        # A token that nobody here has seen.
        ({"file_issued_at": 20.0, "stored_issued_at": 10.0}, StoredTokens.TAKE, reasons.ISSUED_LATER),
        (
            {"file_issued_at": 10.0, "stored_issued_at": 20.0},
            StoredTokens.KEEP,
            reasons.NOT_KNOWN_TO_BE_NEWER,
        ),
        ({"file_issued_at": 20.0}, StoredTokens.KEEP, reasons.NOT_KNOWN_TO_BE_NEWER),
        ({"status": Status.REAUTHORIZE}, StoredTokens.TAKE, reasons.NEW_AFTER_REFUSAL),
        ({"source_fp": STORED}, StoredTokens.TAKE, reasons.NEVER_REFRESHED),
        ({}, StoredTokens.KEEP, reasons.NOT_KNOWN_TO_BE_NEWER),
        # The same refresh token with another access token: a provider that does not rotate.
        ({"file_fp": STORED}, StoredTokens.KEEP, reasons.OTHER_ACCESS_TOKEN),
        ({"file_fp": STORED, "status": Status.REAUTHORIZE}, StoredTokens.KEEP, reasons.OTHER_ACCESS_TOKEN),
        (
            {"file_fp": STORED, "file_issued_at": 20.0, "stored_issued_at": 10.0},
            StoredTokens.TAKE,
            reasons.ISSUED_LATER,
        ),
    ],
)
def test_the_table_of_decisions(known: dict[str, Any], tokens: StoredTokens, reason: str) -> None:
    assert decide(facts(**known)) == Decision(tokens, reason)


times = st.none() | st.floats(1e9, 2e9)
any_facts = st.builds(
    TokenFacts,
    file_fp=st.sampled_from([None, "a", "b", "c"]),
    stored_fp=st.sampled_from([None, "a", "b", "c"]),
    source_fp=st.sampled_from([None, "a", "b", "c"]),
    same=st.booleans(),
    once_held=st.booleans(),
    file_issued_at=times,
    stored_issued_at=times,
    status=st.sampled_from(list(Status)),
)


@given(any_facts)
def test_a_spent_token_never_replaces_the_one_that_followed_it(known: TokenFacts) -> None:
    spent = known.once_held or known.file_fp == known.source_fp
    if spent and known.stored_fp is not None and known.file_fp != known.stored_fp:
        assert decide(known).tokens is not StoredTokens.TAKE


@given(any_facts)
def test_replace_takes_whatever_is_not_there_already(known: TokenFacts) -> None:
    taken = decide(known, replace=True).tokens is StoredTokens.TAKE
    assert taken == (known.file_fp is not None and not known.same)


@given(any_facts)
def test_what_was_taken_once_is_not_taken_again(known: TokenFacts) -> None:
    """Importing the same file twice changes nothing the second time."""
    if decide(known).tokens is StoredTokens.TAKE:
        after = TokenFacts(
            file_fp=known.file_fp,
            stored_fp=known.file_fp,
            source_fp=known.file_fp,
            same=True,
            file_issued_at=known.file_issued_at,
            stored_issued_at=known.file_issued_at,
        )
        assert decide(after).tokens is StoredTokens.SAME


@pytest.mark.parametrize(
    ("tokens", "changed", "counted"),
    [
        (StoredTokens.SAME, False, ImportOutcome.UNCHANGED),
        (StoredTokens.NONE_GIVEN, False, ImportOutcome.UNCHANGED),
        (StoredTokens.KEEP, False, ImportOutcome.KEPT_NEWER),
        (StoredTokens.KEEP, True, ImportOutcome.CHANGED),
        (StoredTokens.TAKE, False, ImportOutcome.CHANGED),
        (StoredTokens.SAME, True, ImportOutcome.CHANGED),
    ],
)
def test_what_a_row_is_counted_as(tokens: StoredTokens, changed: bool, counted: ImportOutcome) -> None:
    assert outcome(Decision(tokens, ""), configuration_changed=changed) is counted
