"""From an answer to the next generation."""

from __future__ import annotations

import pytest

from models.token import Secret, TokenResponse
from worker.policy.token_merge import StoredToken, lost_scopes, merge

HELD = StoredToken(
    refresh_token=Secret("old"),
    token_type="DPoP",
    scope="read write",
    refresh_token_expires_at=5_000.0,
    extra={"instance_url": "https://a.example", "kept": "1"},
)


def test_what_the_provider_leaves_out_is_kept() -> None:
    tokens = merge(TokenResponse(access_token=Secret("new")), HELD, issued_at=1_000.0)

    assert tokens.refresh_token == Secret("old")
    assert (tokens.token_type, tokens.scope) == ("DPoP", "read write")
    assert tokens.expires_at is None
    assert tokens.refresh_token_expires_at == 5_000.0
    assert tokens.extra == HELD.extra


def test_what_the_provider_says_replaces_what_was() -> None:
    response = TokenResponse(
        access_token=Secret("new"),
        refresh_token=Secret("rotated"),
        token_type="bearer",
        scope="read",
        expires_in_s=60.0,
        extra={"instance_url": "https://b.example"},
    )
    tokens = merge(response, HELD, issued_at=1_000.0)

    assert tokens.refresh_token == Secret("rotated")
    assert (tokens.token_type, tokens.scope, tokens.expires_at) == ("bearer", "read", 1_060.0)
    assert tokens.extra == {"instance_url": "https://b.example", "kept": "1"}


def test_a_provider_whose_tokens_never_end_is_not_asked_for_an_end() -> None:
    response = TokenResponse(access_token=Secret("new"), expires_in_s=60.0)
    assert merge(response, HELD, issued_at=1.0, never_expires=True).expires_at is None


def test_a_narrower_scope_is_stored_even_when_it_is_empty() -> None:
    response = TokenResponse(access_token=Secret("new"), scope="")
    assert merge(response, HELD, issued_at=1.0).scope == ""


def test_a_type_that_nobody_named_is_bearer() -> None:
    nothing = StoredToken(refresh_token=None, token_type="")
    assert merge(TokenResponse(access_token=Secret("new")), nothing, issued_at=1.0).token_type == "Bearer"


def test_what_is_known_of_the_provider_stands_in_for_what_it_leaves_out() -> None:
    response = TokenResponse(access_token=Secret("new"), refresh_token=Secret("rotated"))
    nothing = StoredToken(refresh_token=None)
    tokens = merge(response, nothing, issued_at=1.0, default_lifetime_s=60.0, refresh_token_lifetime_s=90.0)
    assert (tokens.issued_at, tokens.expires_at, tokens.refresh_token_expires_at) == (1.0, 61.0, 91.0)


@pytest.mark.parametrize(
    ("before", "after", "lost"),
    [
        ("read write", "read write admin", None),
        ("read write", "write", "read"),
        ("read,write admin", "admin", "read write"),
        ("read write", "write,read", None),
        ("read", "", "read"),
        (None, "read", None),
        ("read", None, None),
    ],
)
def test_the_scopes_that_a_refresh_took_away_are_named(
    before: str | None, after: str | None, lost: str | None
) -> None:
    assert lost_scopes(before, after) == lost
